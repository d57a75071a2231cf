//! JSON Schemas for editors, embedded; the checks here and the schemas are kept in step by a test.

/// Schema of rule files.
pub const RULES: &str = include_str!("../../rules/schema.json");
/// Schema of the configuration.
pub const CONFIG: &str = include_str!("schema/config.json");
/// Schema of native events.
pub const EVENTS: &str = include_str!("schema/events.json");
