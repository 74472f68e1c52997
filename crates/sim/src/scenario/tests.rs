use super::*;

const REFUND: &str = include_str!("../../../../scenarios/refund.toml");

fn play(text: &str) -> Transcript {
    let scenario = Scenario::read(text).unwrap();
    scenario.play(&mut Pure::new(world(&scenario.world).unwrap()).unwrap())
}

#[test]
fn the_refund_holds_on_the_pure_core() {
    let transcript = play(REFUND);
    assert!(transcript.holds(), "{transcript}");
    let words: std::collections::BTreeSet<&str> = transcript.lines.iter().map(|line| line.saw.word()).collect();
    for word in [
        "open",
        "listed",
        "ok",
        "unknown_tool",
        "argument_outside_task",
        "argument_not_named",
        "out_of_order",
        "count_spent",
        "purpose_not_open",
        "parameter_outside_purpose",
        "task_over",
        "stopped",
        "held",
        "not_approver",
        "approved",
        "undone",
        "failed",
        "none",
        "live",
    ] {
        assert!(words.contains(word), "the demo does not show {word}");
    }
    assert!(transcript.to_string().contains("shop.refund is taken back by shop.cancel_refund(refund: \"re_1\")"));
    let json = serde_json::to_value(&transcript).unwrap();
    assert_eq!(json["lines"].as_array().unwrap().len(), transcript.lines.len());
    assert!(transcript.to_string().contains("-> refused: count_spent"), "{transcript}");
}

#[test]
fn what_is_seen_and_not_expected_is_told() {
    let text = r#"
        title = "t"
        world = "demo"
        [[step]]
        say = "s"
        open = { purpose = "monthly-report", agent = "support-bot" }
        expect = "open"
        [[step]]
        say = "only on disk"
        verify = {}
        expect = "verified"
    "#;
    let transcript = play(text);
    assert!(!transcript.holds());
    assert!(transcript.to_string().contains("!! expected open"));
    assert_eq!(transcript.lines[1].met, None);
}

#[test]
fn a_step_has_exactly_one_action() {
    let step = |actions: &str| format!("title = 't'\nworld = 'w'\n[[step]]\nsay = 's'\nexpect = 'ok'\n{actions}");
    for (actions, count) in [("", 0), ("stop = { task = 'a' }\nlist = { connector = 'b' }", 2)] {
        let error = Scenario::read(&step(actions)).unwrap_err();
        assert!(matches!(error, Error::Actions { step: 1, count: found } if found == count), "{error}");
    }
    assert!(matches!(Scenario::read(&step("dance = {}")), Err(Error::Form(_))));
}
