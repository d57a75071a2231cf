//! JSON Schemas for editors, embedded; the checks here and the schemas are kept in step by a test.

/// Schema of rule files.
pub const RULES: &str = include_str!("../../rules/schema.json");
/// Schema of the configuration.
pub const CONFIG: &str = include_str!("schema/config.json");
/// Schema of native events.
pub const EVENTS: &str = include_str!("schema/events.json");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::config::{check as top, conditions, http, intervals, receivers, routes, rules, sites};

    #[track_caller]
    fn check(schema: &str, pointer: &str, keys: &[&[&str]]) {
        let schema: Value = serde_json::from_str(schema).unwrap();
        let found = schema.pointer(pointer).and_then(|at| at.get("properties")).and_then(Value::as_object);
        let found: BTreeSet<&str> = found.unwrap_or_else(|| panic!("no {pointer}")).keys().map(String::as_str).collect();
        let keys: BTreeSet<&str> = keys.iter().flat_map(|keys| keys.iter().copied()).collect();
        assert_eq!(found, keys, "{pointer}");
    }

    #[test]
    fn the_schema_of_rules_has_the_keys_that_are_read() {
        check(RULES, "", &[&rules::FILE]);
        check(RULES, "/properties/defaults", &[&rules::DEFAULTS]);
        check(RULES, "/$defs/rule", &[&rules::RULE, &conditions::CONDITIONS]);
        check(RULES, "/$defs/where", &[&rules::WHERE]);
        check(RULES, "/$defs/errors", &[&conditions::ERRORS]);
        let of = |name: &str| format!("/$defs/rule/properties/{name}");
        check(RULES, &of("spike"), &[&conditions::SPIKE]);
        check(RULES, &of("drop"), &[&conditions::DROP]);
        check(RULES, &of("first_seen"), &[&conditions::FIRST_SEEN]);
        check(RULES, &of("frequency"), &[&conditions::FREQUENCY]);
        check(RULES, &of("threshold"), &[&conditions::THRESHOLD]);
        check(RULES, &of("absent"), &[&conditions::ABSENT]);
        check(RULES, &of("release"), &[&conditions::RELEASE]);
    }

    #[test]
    fn the_schema_of_the_configuration_has_the_keys_that_are_read() {
        check(CONFIG, "", &[&top::CONFIG]);
        check(CONFIG, "/properties/limits", &[&top::LIMITS]);
        check(CONFIG, "/properties/privacy", &[&top::PRIVACY]);
        check(CONFIG, "/properties/heartbeat", &[&top::HEARTBEAT]);
        check(CONFIG, "/$defs/site", &[&sites::SITE]);
        check(CONFIG, "/$defs/key/oneOf/1", &[&sites::KEY]);
        check(CONFIG, "/$defs/pages", &[&sites::PAGES]);
        check(CONFIG, "/$defs/value", &[&sites::VALUE]);
        check(CONFIG, "/$defs/source", &[&sites::SOURCE]);
        check(CONFIG, "/$defs/route", &[&routes::ROUTE]);
        check(CONFIG, "/$defs/inhibit", &[&routes::INHIBIT]);
        check(CONFIG, "/$defs/interval", &[&intervals::INTERVAL]);
        check(CONFIG, "/$defs/global", &[&receivers::GLOBAL, &receivers::GLOBAL_UNREAD]);
        check(CONFIG, "/$defs/receiver", &[&receivers::RECEIVER, &receivers::RECEIVER_UNREAD]);
        check(CONFIG, "/$defs/slack", &[&receivers::SLACK, &receivers::SLACK_UNREAD]);
        check(CONFIG, "/$defs/email", &[&receivers::EMAIL, &receivers::EMAIL_UNREAD]);
        check(CONFIG, "/$defs/pagerduty", &[&receivers::PAGERDUTY, &receivers::PAGERDUTY_UNREAD]);
        check(CONFIG, "/$defs/webhook", &[&receivers::WEBHOOK, &receivers::WEBHOOK_UNREAD]);
        check(CONFIG, "/$defs/http", &[&http::HTTP, &http::HTTP_UNREAD]);
        check(CONFIG, "/$defs/tls", &[&http::TLS, &http::TLS_UNREAD]);
    }

    #[test]
    fn the_schema_of_events_names_every_type_and_dimension() {
        let schema: Value = serde_json::from_str(EVENTS).unwrap();
        for dim in crate::model::Dim::ALL {
            assert!(schema["properties"].get(dim.as_str()).is_some(), "{}", dim.as_str());
        }
        assert_eq!(schema["properties"]["type"]["enum"].as_array().unwrap().len(), 6);
    }
}
