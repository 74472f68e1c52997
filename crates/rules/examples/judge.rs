//! What rules cost, to load and to judge by: `cargo run --release -p portreeve-rules --example judge`

use portreeve_core::{
    names::TaskId,
    policy::Class,
    rules::{Question, Rules},
    time::Millis,
    value::Value,
};
use portreeve_rules::{Files, compile};
use std::{collections::BTreeMap, hint::black_box, time::Instant};

#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let one = "forbid (principal, action == Action::\"shop.refund\", resource)\n\
               when { context.input has amount && context.input.amount > 1000 };\n";
    let other = |number: usize| {
        format!(
            "forbid (principal, action == Action::\"shop.tool{number}\", resource) when {{ context.input.amount > {number} }};\n"
        )
    };
    let others: String = (0..999).map(other).collect();
    let about_all: String = (0..20)
        .map(|n| format!("forbid (principal, action, resource) when {{ context.task.purpose == \"p{n}\" }};\n"))
        .collect();
    for (what, text) in [
        ("no rules", String::new()),
        ("1,000 rules, 0 relevant", others.clone() + &other(999)),
        ("1 rule, 1 relevant", one.to_owned()),
        ("1,000 rules, 1 relevant", others.clone() + one),
        ("1,000 rules, 21 relevant", others + one + &about_all),
    ] {
        let files: Files = [("rules/r.cedar".to_owned(), text)].into_iter().collect();
        let start = Instant::now();
        let bundle =
            compile(&files).map_err(|findings| findings.iter().map(ToString::to_string).collect::<String>())?.bundle;
        let loaded = start.elapsed();
        println!(
            "{what:26} {:8.2} µs a judgement, loaded in {:.1} ms",
            judge(bundle.rules.as_ref())?,
            loaded.as_secs_f64() * 1e3
        );
    }
    // Held against a schema: 10,000 rules about 200 tools, 100 of them about every tool.
    let pins: Vec<String> = (0..200)
        .map(|n| {
            let properties =
                "{\"id\":{\"type\":\"string\"},\"amount\":{\"type\":\"number\"},\"note\":{\"type\":\"string\"}}";
            format!("{{\"name\":\"tool{n}\",\"inputSchema\":{{\"type\":\"object\",\"properties\":{properties}}}}}")
        })
        .collect();
    let typed = |number: usize| {
        let scope = if number.is_multiple_of(100) {
            String::new()
        } else {
            format!(" == Action::\"shop.tool{}\"", number % 200)
        };
        format!(
            "forbid (principal, action{scope}, resource) when {{ context.input has amount && \
             context.input.amount.greaterThan(decimal(\"{number}.0\")) }};\n"
        )
    };
    let files: Files = [
        ("connectors/shop.toml".to_owned(), "command = [\"shop-server\"]\n".to_owned()),
        ("pins/shop.json".to_owned(), format!("[{}]", pins.join(","))),
        ("rules/a.cedar".to_owned(), (0..5_000).map(typed).collect()),
        ("rules/b.cedar".to_owned(), (5_000..10_000).map(typed).collect()),
    ]
    .into_iter()
    .collect();
    let start = Instant::now();
    let loaded = compile(&files).map_err(|findings| findings.iter().map(ToString::to_string).collect::<String>())?;
    let took = start.elapsed();
    let bundle = loaded.bundle;
    println!("10,000 rules held against the types of 200 tools: loaded in {:.1} ms", took.as_secs_f64() * 1e3);
    println!("{:26} {:8.2} µs a judgement", "100 of them relevant", judge(bundle.rules.as_ref())?);
    Ok(())
}

fn judge(rules: &dyn Rules) -> Result<f64, Box<dyn std::error::Error>> {
    const ROUNDS: u32 = if cfg!(debug_assertions) { 2_000 } else { 50_000 };
    let Value::Object(arguments) = "{\"id\":\"ord_1\",\"amount\":20,\"note\":\"broken on arrival\"}".parse()? else {
        return Ok(f64::NAN);
    };
    let arguments: BTreeMap<String, Value> = arguments;
    let question = Question {
        agent: &"support-bot".parse()?,
        user: Some(&"alice".parse()?),
        purpose: &"refund-order".parse()?,
        task: TaskId(1),
        tool: &"shop.refund".parse()?,
        variants: &[],
        class: Class::Write,
        arguments: &arguments,
        person: None,
        groups: &[],
        above: &[],
        matches: &BTreeMap::new(),
        target: None,
        environment: None,
        proven: None,
        now: Millis(1_767_614_400_000),
    };
    for _ in 0..1_000 {
        black_box(rules.judge(black_box(&question)));
    }
    let start = Instant::now();
    for _ in 0..ROUNDS {
        black_box(rules.judge(black_box(&question)));
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS))
}
