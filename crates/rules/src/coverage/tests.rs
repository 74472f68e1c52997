use crate::{Files, compile};
use std::fmt::Write as _;

const POLICY: [(&str, &str); 4] = [
    ("agents/bot.toml", "owner = \"a@example.com\"\n"),
    (
        "connectors/shop.toml",
        "command = [\"s\"]\n[tools.look]\nclass = \"read\"\narguments = { id = \"selector\" }\n\
         [tools.act]\nclass = \"write\"\narguments = { how = \"control\" }\n\
         [[tools.act.variants]]\nname = \"hard\"\nclass = \"execute\"\nwhere = { how = \"hard\" }\n\
         [[tools.act.variants]]\nname = \"soft\"\nclass = \"write\"\nwhere = { how = \"soft\" }\n\
         [tools.other]\nclass = \"read\"\n\
         [[tools.other.variants]]\nname = \"never\"\nclass = \"write\"\nwhere = { x = 1 }\n",
    ),
    (
        "rules/r.cedar",
        "@id(\"no-nine\")\nforbid (principal, action, resource) when { context.input has id && context.input.id == \"9\" };\n\n\
         forbid (principal, action == Action::\"shop.act\", resource) when { context.input has how && context.input.how == \"never\" };\n",
    ),
    (
        "purposes/x.toml",
        "about = \"Look\"\nowner = \"a@example.com\"\nopen = { agents = [\"bot\"], users = \"none\" }\n\
         task = { expires_after = \"1h\", standing = [\"read\", \"write\", \"execute\"] }\n\
         [[allow]]\nname = \"look\"\nuse = [\"shop.look\"]\nwhere = { id = { any = true } }\n\
         [[allow]]\nname = \"act\"\nuse = [\"shop.act#hard\", \"shop.act#soft\"]\nwhere = { how = { any = true } }\n\
         [[case]]\nname = \"it may look\"\ncall = { tool = \"shop.look\", args = { id = \"1\" } }\nexpect = \"permit\"\n\
         [[case]]\ncall = { tool = \"shop.look\", args = { id = \"9\" } }\nexpect = \"rule_forbids\"\n",
    ),
];

fn said(extra: &str) -> String {
    said_of(POLICY[3].1, extra)
}

fn said_of(purpose: &str, extra: &str) -> String {
    let mut files = POLICY.map(|(path, text)| (path.to_owned(), text.to_owned()));
    files[3].1 = format!("{purpose}{extra}");
    let user = ("users/lea.toml".to_owned(), "accounts = [\"lea\"]\ngroups = [\"leads\"]\n".to_owned());
    let files: Files = files.into_iter().chain([user]).collect();
    let tested = compile(&files).unwrap().test(None);
    assert_eq!(tested.failed().count(), 0, "{:?}", tested.failed().map(|case| &case.finding).collect::<Vec<_>>());
    let coverage = &tested.coverage;
    let mut text = String::new();
    for case in &tested.cases {
        writeln!(text, "{}/{} {} -> {}", case.purpose, case.case, case.call, case.got).unwrap();
    }
    writeln!(text, "{:?} {:?} {:?}", coverage.entries, coverage.variants, coverage.rules).unwrap();
    for gap in &coverage.gaps {
        writeln!(text, "{}: {}", gap.place, gap.says()).unwrap();
    }
    text
}

#[test]
fn names_what_no_case_touches() {
    assert_eq!(
        said(""),
        "x/it may look shop.look id=\"1\" -> permit\n\
         x/#2 shop.look id=\"9\" -> rule_forbids\n\
         (1, 2) (0, 2) (1, 2)\n\
         connectors/shop.toml:9:8: no case fits the variant `shop.act#hard`\n\
         connectors/shop.toml:13:8: no case fits the variant `shop.act#soft`\n\
         purposes/x.toml:10:8: no case is permitted by the entry `x/act`\n\
         rules/r.cedar:4:1: no case makes the rule `rule:r#2` refuse or ask\n"
    );
}

#[test]
fn a_question_is_all_that_an_entry_which_asks_can_come_to() {
    let asks = |case: &str| {
        let text = format!(
            "[[allow]]\nname = \"ask\"\nuse = [\"shop.other\"]\nask = {{ who = \"leads\" }}\n[[case]]\ncall = {{ tool = {case}\n"
        );
        let task = POLICY[3].1.replace("task = {", "task = { on_hold = \"ask\",");
        said_of(&task, &text)
    };
    let asked = asks("\"shop.other\" }\nexpect = \"ask\"");
    assert!(!asked.contains("`x/ask`"), "{asked}");
    let other = asks("\"shop.look\", args = { id = \"1\" } }\nexpect = \"permit\"");
    assert!(other.contains("no case is permitted by the entry `x/ask`"), "{other}");
}

#[test]
fn is_whole_once_everything_is_touched() {
    let text = said(
        "[[case]]\ncall = { tool = \"shop.act\", args = { how = \"hard\" } }\nexpect = \"permit\"\n\
         [[case]]\ncall = { tool = \"shop.act\", args = { how = \"soft\" } }\nexpect = \"permit\"\n\
         [[case]]\ncall = { tool = \"shop.act\", args = { how = \"never\" } }\nexpect = [\"rule_forbids\", \"tool_outside_purpose\"]\n",
    );
    assert!(text.ends_with("(2, 2) (2, 2) (2, 2)\n"), "{text}");
}
