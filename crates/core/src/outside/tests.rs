use super::*;

fn point(reuse_ms: i64) -> Arc<Point> {
    Arc::new(Point {
        name: "limits".parse().unwrap(),
        wire: Wire::Opa,
        url: "http://127.0.0.1:8181/v1/data/portreeve/allow".to_owned(),
        timeout_ms: 300,
        reuse_ms,
        sends: Sends::Digests,
        covers: Covers::All,
    })
}

struct World {
    names: [Name; 4],
    tool: Tool,
    arguments: BTreeMap<String, Value>,
    nothing: BTreeMap<&'static Name, bool>,
    target: Resource,
}

impl World {
    fn new(amount: &str) -> Self {
        Self {
            names: ["bot", "lea", "refund-order", "boss"].map(|name| name.parse().unwrap()),
            tool: "shop.refund".parse().unwrap(),
            arguments: [("amount".to_owned(), amount.parse().unwrap())].into(),
            nothing: BTreeMap::new(),
            target: Resource { kind: "Order".to_owned(), id: "ord_1".to_owned(), within: Vec::new() },
        }
    }

    fn ask<T>(&self, task: u64, with: impl FnOnce(&Question<'_>) -> T) -> T {
        let [agent, user, purpose, boss] = &self.names;
        let above = [crate::rules::Link { agent: boss, purpose }];
        with(&Question {
            agent,
            user: Some(user),
            person: None,
            groups: &[],
            purpose,
            task: TaskId(task),
            above: &above,
            tool: &self.tool,
            variants: &[],
            class: Class::Write,
            arguments: &self.arguments,
            matches: &self.nothing,
            target: Some(&self.target),
            environment: Some("staging"),
            proven: None,
            now: Millis(0),
        })
    }
}

fn asking(point: &Arc<Point>, task: u64, amount: &str, bundle: &str) -> Asking {
    World::new(amount).ask(task, |question| Asking::new(point, question, Hash::of(bundle.as_bytes())))
}

fn answer(asking: &Asking, effect: u64, at: i64, said: Said) -> Answer {
    Answer {
        point: asking.point.name.clone(),
        question: asking.question,
        effect: EffectId(effect),
        at: Millis(at),
        said,
    }
}

/// What is left of a call with effect 1 at the time 100,000
fn left(asking: &Asking, answers: &[Answer]) -> (Vec<Word>, usize) {
    let weighed = weigh(vec![asking.clone()], EffectId(1), answers, Millis(100_000));
    (weighed.reasons.iter().map(|reason| reason.word).collect(), weighed.unanswered.len())
}

#[test]
fn what_is_not_a_yes_is_a_reason_and_silence_of_the_shell_is_a_question() {
    let asking = asking(&point(0), 7, "50", "b");
    let said = |said| left(&asking, &[answer(&asking, 1, 99_990, said)]);
    assert_eq!(left(&asking, &[]), (vec![], 1));
    assert_eq!(said(Said::Permit), (vec![], 0));
    assert_eq!(said(Said::Refuse(None)), (vec![Word::OutsideRefuses], 0));
    assert_eq!(said(Said::Silent("x".to_owned())), (vec![Word::OutsideSilent], 0));
    assert_eq!(said(Said::Failed("x".to_owned())), (vec![Word::OutsideFailed], 0));
    let both = [answer(&asking, 1, 99_990, Said::Permit), answer(&asking, 1, 99_991, Said::Refuse(None))];
    assert_eq!(left(&asking, &both), (vec![Word::OutsideRefuses], 0), "of several, the worse");
}

#[test]
fn an_answer_serves_one_question_for_a_while() {
    let asked = asking(&point(0), 7, "50", "b");
    let reused = asking(&point(5_000), 7, "50", "b");
    for (asking, effect, at, expected) in [
        (&asked, 1, 100_000, 0),
        (&asked, 1, 100_000 - FRESH_MS, 0),
        (&asked, 1, 100_000 - FRESH_MS - 1, 1),
        (&asked, 1, 100_001, 1),
        // For another call only where the policy says for how long.
        (&asked, 2, 100_000, 1),
        (&reused, 2, 100_000, 0),
        (&reused, 2, 95_000, 0),
        (&reused, 2, 94_999, 1),
        (&reused, 2, 100_001, 1),
    ] {
        let found = left(asking, &[answer(asking, effect, at, Said::Permit)]);
        assert_eq!(found, (vec![], expected), "effect {effect} at {at}");
    }
}

#[test]
fn an_answer_to_anything_else_is_none() {
    let asked = asking(&point(60_000), 7, "50", "b");
    let elsewhere = Arc::new(Point { url: "http://127.0.0.1:1/v1/data/x".to_owned(), ..(*point(60_000)).clone() });
    let whole = Arc::new(Point { sends: Sends::Arguments, ..(*point(60_000)).clone() });
    let authzen = Arc::new(Point { wire: Wire::Authzen, ..(*point(60_000)).clone() });
    for other in [
        asking(&point(60_000), 8, "50", "b"),
        asking(&point(60_000), 7, "51", "b"),
        asking(&point(60_000), 7, "50", "c"),
        asking(&elsewhere, 7, "50", "b"),
        asking(&whole, 7, "50", "b"),
        asking(&authzen, 7, "50", "b"),
    ] {
        assert_eq!(left(&asked, &[answer(&other, 1, 99_999, Said::Permit)]), (vec![], 1), "{other:?}");
    }
    let renamed = Answer { point: "other".parse().unwrap(), ..answer(&asked, 1, 99_999, Said::Permit) };
    assert_eq!(left(&asked, &[renamed]), (vec![], 1));
    // The same value in another spelling is the same question; more time for an answer changes none.
    let patient = Arc::new(Point { timeout_ms: 5_000, ..(*point(60_000)).clone() });
    assert_eq!(asked.question, asking(&patient, 7, "50.0", "b").question);
}

#[test]
fn too_many_questions_are_a_reason() {
    let asking = asking(&point(0), 7, "50", "b");
    let weighed = weigh(vec![asking; QUESTIONS_MAX + 1], EffectId(1), &[], Millis(0));
    assert_eq!(weighed.reasons.len(), 1);
    assert!(weighed.unanswered.is_empty());
}

#[test]
fn digests_tell_no_values() {
    let world = World::new("\"acct_4711\"");
    let told = |sends| world.ask(7, |question| Value::Object(document(question, Hash::of(b"b"), sends)).canonical());
    let (digests, arguments) = (told(Sends::Digests), told(Sends::Arguments));
    for secret in ["acct_4711", "ord_1", "staging"] {
        assert!(!digests.contains(secret), "{digests}");
        assert!(arguments.contains(secret), "{arguments}");
    }
    assert!(digests.contains("\"digests\":{\"amount\":\"sha256:"), "{digests}");
    assert!(arguments.contains("\"arguments\":{\"amount\":\"acct_4711\"}"), "{arguments}");
}

#[test]
fn what_opa_is_asked() {
    let whole = Arc::new(Point { sends: Sends::Arguments, ..(*point(0)).clone() });
    let asking = asking(&whole, 7, "50", "b");
    let bundle = Hash::of(b"b");
    assert_eq!(
        body(Wire::Opa, &asking.document, Millis(1_767_614_400_000)),
        format!(
            "{{\"input\":{{\"agent\":\"bot\",\"arguments\":{{\"amount\":50}},\"bundle\":\"{bundle}\",\
             \"chain\":[{{\"agent\":\"boss\",\"purpose\":\"refund-order\"}}],\"class\":\"write\",\"connector\":\"shop\",\
             \"environment\":\"staging\",\"match\":{{}},\"proof\":{{\"bound\":\"none\",\"how\":\"account\"}},\
             \"purpose\":\"refund-order\",\"target\":{{\"id\":\"ord_1\",\"in\":[],\"type\":\"Order\"}},\"task\":\"task_0000000000007\",\
             \"time\":\"2026-01-05T12:00:00.000Z\",\"tool\":\"shop.refund\",\"user\":\"lea\",\"variants\":[]}}}}"
        )
    );
}

/// OpenID AuthZEN, Authorization API 1.0: section "The Access Evaluation API Request"
#[test]
fn what_authzen_is_asked() {
    let asking = asking(&point(0), 7, "50", "b");
    let body: Value = body(Wire::Authzen, &asking.document, Millis(0)).parse().unwrap();
    let at = |path: &[&str]| path.iter().try_fold(&body, |value, key| value.get(key)).cloned();
    let text = |text: &str| Some(Value::String(text.to_owned()));
    // What the specification requires, each of the type that it requires.
    assert_eq!(at(&["subject", "type"]), text("agent"));
    assert_eq!(at(&["subject", "id"]), text("bot"));
    assert_eq!(at(&["action", "name"]), text("tools/call"));
    assert_eq!(at(&["resource", "type"]), text("tool"));
    assert_eq!(at(&["resource", "id"]), text("shop.refund"));
    for object in [&["subject"][..], &["action", "properties"], &["resource", "properties"], &["context"]] {
        assert!(matches!(at(object), Some(Value::Object(_))), "{object:?}");
    }
    assert_eq!(at(&["action", "properties", "class"]), text("write"));
    assert_eq!(at(&["context", "user"]), text("lea"));
    assert_eq!(at(&["context", "time"]), text("1970-01-01T00:00:00.000Z"));
    let Value::Object(members) = &body else { panic!("{body}") };
    assert_eq!(members.keys().collect::<Vec<_>>(), ["action", "context", "resource", "subject"]);
}

#[test]
fn what_authzen_answers() {
    let refused = |because: &str| Said::Refuse(Some(because.to_owned()));
    // Those that stand in the specification, and what is no answer.
    for (answer, expected) in [
        (r#"{"decision": true}"#, Said::Permit),
        (r#"{"decision": false}"#, Said::Refuse(None)),
        (
            r#"{"decision": true, "context": {"metadata": {"response_time": 60, "response_time_unit": "ms"}}}"#,
            Said::Permit,
        ),
        (
            r#"{"decision": false, "context": {"id": "0", "reason_admin": {"en": "Request failed policy C076E82F"},
                "reason_user": {"en-403": "Insufficient privileges. Contact your administrator",
                                "es-403": "Privilegios insuficientes. Póngase en contacto con su administrador"}}}"#,
            refused("Insufficient privileges. Contact your administrator"),
        ),
        (
            r#"{"decision": false, "context": {"reason": "Subject is a viewer of the resource"}}"#,
            refused("Subject is a viewer of the resource"),
        ),
        (
            r#"{"decision": false, "context": {"error": {"status": 404, "message": "Resource not found"}}}"#,
            Said::Refuse(None),
        ),
        (
            r#"{"decision": false, "context": {"reason_admin": {"403": "Request failed policy C076E82F"}}}"#,
            Said::Refuse(None),
        ),
    ] {
        assert_eq!(read_authzen(answer.as_bytes()), expected, "{answer}");
    }
    for broken in [
        "",
        "{}",
        "true",
        "[]",
        "null",
        "{\"decision\":\"true\"}",
        "{\"decision\":1}",
        "{\"decision\":null}",
        "{\"Decision\":true}",
        "{\"decision\":true,\"decision\":false}",
        "{\"decision\":true} x",
        "<html>",
        "{\"evaluations\":[{\"decision\":true}]}",
        "{\"decision\":true,\"context\":{\"obligations\":[{\"id\":\"1\",\"step-up\":{}}]}}",
    ] {
        assert!(matches!(read_authzen(broken.as_bytes()), Said::Failed(_)), "{broken}");
    }
}

#[test]
fn what_opa_answers() {
    let refused = |because: &str| Said::Refuse(Some(because.to_owned()));
    for (answer, expected) in [
        (r#"{"result":true}"#, Said::Permit),
        (r#"{"result":true,"decision_id":"x","metrics":{}}"#, Said::Permit),
        (r#"{"result":false}"#, Said::Refuse(None)),
        (r#"{"result":{"allow":true,"reasons":["ignored"]}}"#, Said::Permit),
        (r#"{"result":{"allow":false,"reasons":["a","b"]}}"#, refused("a; b")),
        (r#"{"result":{"allow":false,"reason":"a\nb\u001b[31m"}}"#, refused("a b [31m")),
        (r#"{"result":{"allow":false,"reasons":[]}}"#, Said::Refuse(None)),
        ("{}", refused("the rule is undefined for this call")),
        (r#"{"decision_id":"x"}"#, refused("the rule is undefined for this call")),
    ] {
        assert_eq!(read_opa(answer.as_bytes()), expected, "{answer}");
    }
    for broken in [
        "",
        "true",
        "{\"result\":null}",
        "{\"result\":1}",
        "{\"result\":\"true\"}",
        "{\"result\":[true]}",
        "{\"result\":{}}",
        "{\"result\":{\"allow\":1}}",
        "{\"result\":false,\"result\":true}",
        "{\"code\":\"internal_error\",\"result\":[]}",
    ] {
        assert!(matches!(read_opa(broken.as_bytes()), Said::Failed(_)), "{broken}");
    }
    let long = format!("{{\"result\":{{\"allow\":false,\"reason\":\"{}\"}}}}", "ä".repeat(1_000));
    let Said::Refuse(Some(because)) = read_opa(long.as_bytes()) else { panic!("{long}") };
    assert!(because.len() <= 304 && because.ends_with('…'), "{because}");
}
