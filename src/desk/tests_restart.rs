//! A restart at any point changes nothing but that what was on its way is sent again.

use proptest::prelude::*;

use super::tests::{World, by_page, config, plan, receivers};

fn steps() -> impl Strategy<Value = Vec<String>> {
    let verb = prop_oneof![
        6 => (0..6u8, 0..4u8).prop_map(|(page, severity)| format!("fire p{page} P{severity}")),
        4 => (0..6u8).prop_map(|page| format!("resolve p{page}")),
        1 => (0..6u8, 1..900u32).prop_map(|(page, secs)| format!("silence p{page} {secs}")),
        1 => Just("down slack".to_owned()),
        1 => (1..900u32).prop_map(|secs| format!("down pagerduty {secs}")),
        1 => Just("gone slack".to_owned()),
        1 => Just("refuse pagerduty".to_owned()),
        2 => Just("up slack".to_owned()),
        2 => Just("up pagerduty".to_owned()),
        1 => (1..5u8).prop_map(|n| format!("ack {n}")),
    ];
    prop::collection::vec((1..400i64, verb), 1..25).prop_map(|steps| {
        let mut now = 0;
        let timed = steps.into_iter().map(|(pause, verb)| {
            now += pause;
            format!("{now} {verb}")
        });
        timed.collect()
    })
}

fn run(steps: &[String], paged: bool, restarts: bool) -> World {
    let plans = vec![plan("web", &["slack", "pagerduty"], "ops"), plan("ops", &["webhook"], "")];
    let mut world = World::new(receivers(if paged { by_page(0) } else { config() }, plans));
    for step in steps {
        world.step(step);
        if restarts {
            world.crash();
        }
    }
    world.step("20000 up slack");
    world.step("20000 up pagerduty");
    for page in 0..6 {
        world.step(&format!("20001 resolve p{page}"));
    }
    world.step("60000 end");
    world
}

#[test]
fn a_fallback_of_two_broken_targets_hears_a_message_once_also_after_a_restart() {
    let steps =
        ["1 gone slack", "2 fire p0 P1", "17 down pagerduty 2", "47 fire p0 P0", "48 refuse pagerduty"].map(str::to_owned);
    let (one, two) = (run(&steps, false, false), run(&steps, false, true));
    assert_eq!(one.log, two.log);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_restart_between_any_two_inputs_changes_no_delivery(steps in steps(), paged: bool) {
        let one = run(&steps, paged, false);
        let two = run(&steps, paged, true);
        prop_assert_eq!(&one.log, &two.log);
        prop_assert_eq!(one.desk.deliveries().count(), 0, "all is settled in the end");
        prop_assert_eq!(one.desk.groups().count(), 0, "all is told in the end");
    }
}

#[test]
fn what_was_on_its_way_is_sent_again() {
    let mut world = World::new(by_page(0));
    world.step("0 lost lost");
    world.step("1 fire a");
    world.step("20 crash lost");
    world.step("300 end");
    assert_eq!(world.log, ["1 slack fire SPK-1.1 +a", "20 slack fire SPK-1.1 +a"]);
}
