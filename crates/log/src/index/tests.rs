use super::*;
use crate::{Options, Sqlite};
use portreeve_core::{
    commit::Committed,
    event::{
        Actor, Admitted, Because, Began, Booted, Declined, Elevation, Event, Granted, Held, HeldOpening, HeldWhat, How,
        Inputs, News, Noted, Refused, Settled, Signed, Stopped, To, What, encode,
    },
    log::{Log as _, Space},
    names::{BootId, EffectId, GrantId, HoldId, MemoryId, RunId},
    node::{Node, Why},
    policy::Class,
    time::Millis,
    value::Value,
};
use proptest::prelude::*;
use serde_json::Value as Json;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::atomic::{AtomicBool, Ordering},
};

const OPTIONS: Options = Options { bytes_max: None, reserve_bytes: 0 };

/// Of few ids, so that records have to do with each other
#[derive(Clone, Copy, Debug)]
enum Made {
    Booted,
    Began { task: u64, run: u64, parent: Option<u64> },
    Admitted { effect: u64, task: u64, by: u64, grant: Option<u64>, hold: Option<u64> },
    Settled { effect: u64 },
    Stopped { what: u64, id: u64 },
    Granted { grant: u64 },
    Held { hold: u64, task: Option<u64> },
    Answered { hold: u64, yes: Option<u64> },
    Elevated { grant: u64, task: u64, hold: Option<u64> },
    Told { effect: u64, hold: u64, task: Option<u64> },
    Refused { task: Option<u64>, by: Option<u64> },
    Looked { task: u64, by: u64 },
    Consulted { effect: u64, task: u64 },
}

fn said(text: &str) -> Committed {
    Committed::new(&Value::String(text.to_owned()), [7; 16])
}

fn admitted(effect: u64, task: Option<u64>, what: What, because: Option<Because>, hold: Option<u64>) -> Event {
    Event::Admitted(Box::new(Admitted {
        effect: EffectId(effect),
        task: task.map(TaskId),
        bundle: Hash::default(),
        now: Millis(1),
        what,
        inputs: Inputs::default(),
        because: because.into_iter().collect(),
        hold: hold.map(HoldId),
    }))
}

fn granted(grant: u64, to: To, hold: Option<u64>) -> Event {
    Event::Granted(Box::new(Granted {
        grant: GrantId(grant),
        to,
        owner: "user:ann".to_owned(),
        why: said("for a while"),
        until: Millis(1),
        hold: hold.map(HoldId),
        signed: None,
    }))
}

/// Ids of one kind may have the number of one of another kind
fn record(made: Made) -> Record {
    let name = |text: &str| text.parse().unwrap();
    let mut actor = Actor::System;
    let mut by = |run: u64| actor = Actor::Run(RunId(run));
    let event = match made {
        Made::Booted => Event::Booted(Booted { boot: BootId(1), version: "0".to_owned(), after: None }),
        Made::Began { task, run, parent } => Event::Began(Box::new(Began {
            task: TaskId(task),
            run: RunId(run),
            memory: MemoryId(run),
            agent: name("bot"),
            user: None,
            purpose: name("p"),
            bundle: Hash::default(),
            parent: parent.map(TaskId),
            parameters: BTreeMap::new(),
            objective: None,
            expires: Millis(1),
            idle_ms: None,
            hold: None,
            review: None,
            undoes: None,
            proven: None,
        })),
        Made::Admitted { effect, task, by: run, grant, hold } => {
            by(run);
            let because = grant.map(|grant| Because {
                grant: GrantId(grant),
                words: BTreeSet::new(),
                reasons: said("otherwise refused"),
            });
            admitted(effect, Some(task), What::Child { connector: name("shop"), lease: None }, because, hold)
        }
        Made::Told { effect, hold, task } => admitted(
            effect,
            task,
            What::Notice { hold: HoldId(hold), receiver: name("chat"), news: News::Asked },
            None,
            None,
        ),
        Made::Settled { effect } => Event::Settled(Settled {
            effect: EffectId(effect),
            end: portreeve_core::event::End::Unknown { why: String::new() },
        }),
        Made::Stopped { what, id } => {
            let node = match what % 7 {
                0 => Node::Task(TaskId(id)),
                1 => Node::Run(RunId(id)),
                2 => Node::Child(EffectId(id)),
                3 => Node::Grant(GrantId(id)),
                4 => Node::Hold(HoldId(id)),
                5 => Node::Tenant,
                _ => Node::Agent(name("bot")),
            };
            Event::Stopped(Stopped { node, why: Why::Ended, at: Millis(1) })
        }
        Made::Granted { grant } => granted(grant, To::Observe { on: Node::Tenant }, None),
        Made::Held { hold, task } => Event::Held(Box::new(Held {
            hold: HoldId(hold),
            task: task.map(TaskId),
            agent: name("bot"),
            user: None,
            chain: vec![],
            purpose: name("p"),
            bundle: Hash::default(),
            what: HeldWhat::Opening(HeldOpening {
                opener: None,
                parameters: BTreeMap::new(),
                objective: None,
                lasts_ms: 1,
                break_glass: false,
                key: Hash::default(),
            }),
            questions: vec![],
            own: vec![],
            binding: Hash::default(),
            until: Millis(1),
        })),
        Made::Answered { hold, yes: Some(grant) } => {
            granted(grant, To::Approval { hold: HoldId(hold), binding: Hash::default() }, Some(hold))
        }
        Made::Answered { hold, yes: None } => Event::Declined(Box::new(Declined {
            hold: HoldId(hold),
            by: name("ann"),
            why: said("no"),
            signed: Signed {
                how: How::Link,
                at: Millis(1),
                read_ms: None,
                statement: Hash::default(),
                key: String::new(),
                signature: String::new(),
                passkey: None,
            },
        })),
        Made::Elevated { grant, task, hold } => {
            let elevation = Elevation {
                task: TaskId(task),
                class: Class::Write,
                uses: vec![],
                values: BTreeMap::new(),
                times: 1,
                lasts_ms: 1,
                why: said("to write"),
            };
            granted(grant, To::Elevation(elevation), hold)
        }
        Made::Refused { task, by: run } => {
            run.into_iter().for_each(&mut by);
            Event::Refused(Refused {
                task: task.map(TaskId),
                what: "shop.refund".to_owned(),
                words: BTreeSet::new(),
                count: 1,
                reasons: said("why not"),
            })
        }
        Made::Looked { task, by: run } => {
            by(run);
            let method = "tools/list".to_owned();
            Event::Noted(Noted::Looked { task: TaskId(task), connector: name("shop"), method, shown: 1, hidden: 0 })
        }
        Made::Consulted { effect, task } => {
            let tool = "shop.refund".parse().unwrap();
            Event::Noted(Noted::Consulted { effect: EffectId(effect), task: TaskId(task), tool, points: vec![] })
        }
    };
    Record { time: Millis(1), actor, event }
}

fn append(log: &mut Sqlite, made: &[Made]) -> Vec<Record> {
    let mut records: Vec<Record> = made.iter().copied().map(record).collect();
    let group = encode(log.head(), &mut records, vec![]).unwrap();
    log.append(log.head(), &group, Space::Ordinary).unwrap();
    records
}

/// What a scan of all records finds, by another reading of them: as JSON, by the texts of the ids
#[derive(Default)]
struct Scan {
    placed: Vec<(Placed, Option<String>)>,
    tasks: BTreeMap<String, String>,
}

impl Scan {
    fn add(&mut self, group: u64, records: Vec<Record>) {
        for (index, record) in records.into_iter().enumerate() {
            let json = serde_json::to_value(&record).unwrap();
            let (kind, event) = json["event"].as_object().unwrap().iter().next().unwrap();
            let text = |json: &Json| json.as_str().map(str::to_owned);
            let consulted = &event["consulted"];
            let named = match kind.as_str() {
                "noted" => event.as_object().and_then(|noted| text(&noted.values().next()?["task"])),
                "granted" => text(&event["to"]["elevation"]["task"]),
                _ => text(&event["task"]),
            };
            let by = text(&json["actor"]["run"]);
            // What may say whose it is, where the record itself does not.
            let others =
                [&event["effect"], &event["node"], &event["grant"], &event["hold"], &event["what"]["notice"]["hold"]];
            let others = others.into_iter().filter_map(text).map(|id| id.replace("child:", ""));
            let known = |id: String| if id.starts_with("task_") { Some(id) } else { self.tasks.get(&id).cloned() };
            let task = named.clone().or_else(|| others.chain(by).find_map(known));
            if let Some(named) = named {
                let born = match kind.as_str() {
                    "began" => text(&event["run"]),
                    "admitted" => text(&event["effect"]),
                    "noted" => text(&consulted["effect"]),
                    "held" => text(&event["hold"]),
                    "granted" => text(&event["grant"]),
                    _ => None,
                };
                self.tasks.extend(born.map(|born| (born, named)));
            }
            self.placed.push((Placed { group, index, record }, task));
        }
    }

    fn about(&self, subject: Subject) -> Vec<Placed> {
        let id = subject.to_string();
        let is_about = |placed: &Placed, task: &Option<String>| {
            // What a task is charged for or a name that says something else does not occur in these records.
            serde_json::to_string(&placed.record).unwrap().contains(&id) || task.as_deref() == Some(&id)
        };
        self.placed.iter().filter(|(placed, task)| is_about(placed, task)).map(|(placed, _)| placed.clone()).collect()
    }
}

fn all_subjects() -> impl Iterator<Item = Subject> {
    (0..8).flat_map(|id| {
        [Subject::Task(TaskId(id)), Subject::Run(RunId(id)), Subject::Effect(EffectId(id)), Subject::Grant(GrantId(id))]
    })
}

fn assert_same(index: &mut Index, scan: &Scan) {
    for subject in all_subjects() {
        let expected = scan.about(subject);
        let found = index.records_of(subject, Most::ALL).unwrap();
        assert_eq!(found, Records { records: expected.clone(), cut: false }, "{subject}");
        let groups: BTreeSet<u64> = expected.iter().map(|placed| placed.group).collect();
        assert_eq!(index.groups_of(subject, usize::MAX).unwrap(), (groups.into_iter().collect(), false), "{subject}");
        for most in 0..4 {
            let last = index.records_of(subject, Most { records: most, ..Most::ALL }).unwrap();
            assert_eq!(last.records, expected[expected.len().saturating_sub(most)..], "{subject}, {most}");
            assert_eq!(last.cut, expected.len() > most, "{subject}, {most}");
        }
    }
}

fn made() -> impl Strategy<Value = Made> {
    let some = || proptest::option::of(0..4u64);
    prop_oneof![
        1 => Just(Made::Booted),
        // A run has one task: the one with its number.
        2 => (0..4u64, some()).prop_map(|(task, parent)| Made::Began { task, run: task, parent }),
        4 => (0..8u64, 0..4u64, proptest::option::weighted(0.2, 0..3u64), proptest::option::weighted(0.2, 0..6u64))
            .prop_map(|(effect, by, grant, hold)| Made::Admitted { effect, task: effect % 4, by, grant, hold }),
        4 => (0..8u64).prop_map(|effect| Made::Settled { effect }),
        1 => (0..7u64, 0..8u64).prop_map(|(what, id)| Made::Stopped { what, id }),
        1 => (0..3u64).prop_map(|grant| Made::Granted { grant }),
        // The question of a task has an even number, that of an opening an odd one; grants likewise belong to one task.
        2 => (0..6u64).prop_map(|hold| Made::Held { hold, task: (hold % 2 == 0).then_some(hold / 2) }),
        2 => (0..6u64, proptest::option::of(6..8u64)).prop_map(|(hold, yes)| Made::Answered { hold, yes }),
        1 => (3..6u64, some()).prop_map(|(grant, hold)| Made::Elevated { grant, task: grant - 3, hold }),
        1 => (0..6u64).prop_map(|hold| {
            Made::Told { effect: hold + 8, hold, task: (hold % 2 == 0).then_some(hold / 2) }
        }),
        1 => (some(), some()).prop_map(|(task, by)| Made::Refused { task, by }),
        1 => (0..4u64, 0..4u64).prop_map(|(task, by)| Made::Looked { task, by }),
        1 => (0..8u64).prop_map(|effect| Made::Consulted { effect, task: effect % 4 }),
    ]
}

/// Whether a log could hold it here: nobody acts and nothing ends before it began
fn is_possible(made: Made, born: &mut BTreeSet<Subject>) -> bool {
    let run = |id: &u64| Subject::Run(RunId(*id));
    let effect = Subject::Effect;
    let hold = |id: &u64| Subject::Hold(HoldId(*id));
    match made {
        Made::Began { run: id, .. } => born.insert(run(&id)),
        Made::Consulted { effect: id, .. } => {
            born.insert(effect(EffectId(id)));
            true
        }
        Made::Admitted { effect: id, by, .. } => {
            let possible = born.contains(&run(&by));
            if possible {
                born.insert(effect(EffectId(id)));
            }
            possible
        }
        Made::Settled { effect: id } => born.contains(&effect(EffectId(id))),
        Made::Stopped { what, id } => match what % 7 {
            1 => born.contains(&run(&id)),
            2 => born.contains(&effect(EffectId(id))),
            3 => born.contains(&Subject::Grant(GrantId(id))),
            4 => born.contains(&hold(&id)),
            _ => true,
        },
        Made::Held { hold: id, .. } => born.insert(hold(&id)),
        Made::Answered { hold: id, .. } => born.contains(&hold(&id)),
        Made::Elevated { grant, hold: id, .. } => {
            let possible = id.is_none_or(|id| born.contains(&hold(&id)));
            if possible {
                born.insert(Subject::Grant(GrantId(grant)));
            }
            possible
        }
        Made::Told { effect: id, hold: of, .. } => {
            let possible = born.contains(&hold(&of));
            if possible {
                born.insert(effect(EffectId(id)));
            }
            possible
        }
        Made::Granted { grant } => {
            born.insert(Subject::Grant(GrantId(grant)));
            true
        }
        Made::Looked { by, .. } => born.contains(&run(&by)),
        Made::Refused { by, .. } => by.iter().all(|by| born.contains(&run(by))),
        Made::Booted => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever is in the log, and whenever the index catches up, it finds what a scan finds
    #[test]
    fn finds_what_a_scan_finds(groups in proptest::collection::vec((proptest::collection::vec(made(), 1..6), 0..4u8), 1..24)) {
        let root = crate::scratch();
        let mut log = Sqlite::open(root.path(), OPTIONS).unwrap();
        let mut index = Index::open(root.path()).unwrap();
        let mut scan = Scan::default();
        let mut born = BTreeSet::new();
        for (mut made, then) in groups {
            made.retain(|made| is_possible(*made, &mut born));
            made.push(Made::Booted);
            let records = append(&mut log, &made);
            scan.add(log.head().n, records);
            match then {
                0 => while !index.catch_up().unwrap() {},
                1 => index = Index::open(root.path()).unwrap(),
                2 => { index.groups_of(Subject::Task(TaskId(1)), 1).unwrap(); }
                _ => {}
            }
        }
        assert_same(&mut index, &scan);
        drop(index);
        assert_same(&mut Index::open(root.path()).unwrap(), &scan);
    }
}

/// A log of `tasks` tasks, each with an effect that is settled only after all others were admitted
fn filled(root: &Path, tasks: u64) -> (Sqlite, Scan) {
    let mut log = Sqlite::open(root, OPTIONS).unwrap();
    let mut scan = Scan::default();
    let mut add = |made: &[Made]| {
        let records = append(&mut log, made);
        scan.add(log.head().n, records);
    };
    for id in 0..tasks {
        add(&[Made::Began { task: id, run: id, parent: None }]);
        add(&[
            Made::Admitted { effect: id, task: id, by: id, grant: None, hold: None },
            Made::Looked { task: id, by: id },
        ]);
    }
    for effect in 0..tasks {
        add(&[Made::Settled { effect }]);
    }
    (log, scan)
}

#[test]
fn a_settlement_far_behind_its_admission_belongs_to_the_task() {
    let root = crate::scratch();
    let (_log, _) = filled(root.path(), 8);
    let mut index = Index::open(root.path()).unwrap();
    assert_eq!(index.groups_of(Subject::Task(TaskId(2)), 9), Ok((vec![5, 6, 19], false)));
    assert_eq!(index.task_of(Subject::Effect(EffectId(2))), Ok(Some(TaskId(2))));
    assert_eq!(index.task_of(Subject::Run(RunId(7))), Ok(Some(TaskId(7))));
    assert_eq!(index.task_of(Subject::Grant(GrantId(2))), Ok(None));
}

#[test]
fn openings_come_along_as_long_as_they_are_there() {
    let root = crate::scratch();
    let mut log = Sqlite::open(root.path(), OPTIONS).unwrap();
    append(&mut log, &[Made::Granted { grant: 1 }]);
    let mut index = Index::open(root.path()).unwrap();
    let mut why = || {
        let mut found = index.records_of(Subject::Grant(GrantId(1)), Most::ALL).unwrap();
        found.records[0].record.committed()[0].1.value()
    };
    assert_eq!(why(), Some(Value::String("for a while".to_owned())));
    drop(log);
    Connection::open(root.path().join("log.db")).unwrap().execute("DELETE FROM openings", []).unwrap();
    assert_eq!(why(), None, "nothing that was erased is kept in the index");
}

#[test]
fn no_more_is_read_than_was_wanted() {
    let root = crate::scratch();
    let (_log, _) = filled(root.path(), 8);
    let mut index = Index::open(root.path()).unwrap();
    let found = index.records_of(Subject::Task(TaskId(1)), Most { bytes: 1, ..Most::ALL }).unwrap();
    assert_eq!(found.records.iter().map(|placed| placed.group).collect::<Vec<_>>(), [18]);
    assert!(found.cut);
}

#[test]
fn the_file_is_private_and_kept() {
    let root = crate::scratch();
    let (_log, scan) = filled(root.path(), 3);
    let path = root.path().join(FILE);
    assert_same(&mut Index::open(root.path()).unwrap(), &scan);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let index = Index::open(root.path()).unwrap();
    assert_eq!(head(index.file.db()).unwrap().n, 9, "an index that is opened again goes on where it was");
}

#[test]
fn an_index_that_is_behind_goes_on() {
    let root = crate::scratch();
    let (mut log, mut scan) = filled(root.path(), 5);
    assert!(!Index::open(root.path()).unwrap().catch_up().unwrap());
    let records = append(&mut log, &[Made::Settled { effect: 1 }]);
    scan.add(log.head().n, records);
    let mut index = Index::open(root.path()).unwrap();
    assert_eq!(head(index.file.db()).unwrap().n, 4);
    assert_same(&mut index, &scan);
}

/// The file before this index, and what is left of it afterwards
fn over(before: impl FnOnce(&Path)) -> (tempfile::TempDir, std::path::PathBuf) {
    let root = crate::scratch();
    let (_log, scan) = filled(root.path(), 5);
    let path = root.path().join(FILE);
    before(&path);
    let mut index = Index::open(root.path()).unwrap();
    assert_same(&mut index, &scan);
    drop(index);
    assert_same(&mut Index::open(root.path()).unwrap(), &scan);
    (root, path)
}

/// How many groups the file is an index of
fn indexed(path: &Path) -> rusqlite::Result<i64> {
    Connection::open(path)?.query_row("SELECT n FROM head", [], |row| row.get(0))
}

#[test]
fn a_file_that_is_no_database_is_made_anew() {
    for junk in [&b"junk"[..], &[0xff; 3 * 4096]] {
        let (_root, path) = over(|path| fs::write(path, junk).unwrap());
        assert_eq!(indexed(&path), Ok(15), "{} bytes", junk.len());
    }
}

#[test]
fn a_torn_file_is_made_anew() {
    for cut in [20, 4096, 5000, 9000] {
        let (_root, path) = over(|path| {
            Index::open(path.parent().unwrap()).unwrap().groups_of(Subject::Task(TaskId(0)), 1).unwrap();
            let whole = fs::read(path).unwrap();
            assert!(whole.len() > cut);
            fs::write(path, &whole[..cut]).unwrap();
        });
        assert_eq!(indexed(&path), Ok(15), "cut at {cut}");
    }
}

#[test]
fn a_page_that_turns_out_to_be_damaged_has_the_file_made_anew() {
    let (_root, path) = over(|path| {
        Index::open(path.parent().unwrap()).unwrap().groups_of(Subject::Task(TaskId(0)), 1).unwrap();
        let mut whole = fs::read(path).unwrap();
        whole[4096..].fill(0xee);
        fs::write(path, whole).unwrap();
    });
    assert_eq!(indexed(&path), Ok(15));
}

#[test]
fn damage_under_an_open_index_is_met() {
    let root = crate::scratch();
    let (_log, scan) = filled(root.path(), 5);
    let mut index = Index::open(root.path()).unwrap();
    assert_same(&mut index, &scan);
    index.file.db().execute_batch("DROP TABLE places; CREATE TABLE places (x)").unwrap();
    assert_same(&mut index, &scan);
}

#[test]
fn all_who_share_a_file_get_over_its_damage() {
    let root = crate::scratch();
    let (_log, scan) = filled(root.path(), 5);
    let path = root.path().join(FILE);
    let mut first = Index::open(root.path()).unwrap();
    let mut second = Index::open(root.path()).unwrap();
    assert_same(&mut first, &scan);
    assert_same(&mut second, &scan);
    first.file.db().execute_batch("DROP TABLE places").unwrap();
    assert_same(&mut second, &scan);
    assert_same(&mut first, &scan);
    assert_eq!(indexed(&path), Ok(15));
    assert_same(&mut Index::open(root.path()).unwrap(), &scan);
}

#[test]
fn an_index_of_another_version_is_made_anew() {
    let (_root, path) = over(|path| {
        Index::open(path.parent().unwrap()).unwrap().groups_of(Subject::Task(TaskId(0)), 1).unwrap();
        let db = Connection::open(path).unwrap();
        db.execute_batch("DELETE FROM places WHERE n > 3; PRAGMA user_version = 99").unwrap();
    });
    assert_eq!(indexed(&path), Ok(15));
}

#[test]
fn the_database_of_another_program_is_left_alone() {
    let sql = "CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)";
    for id in [0, 77] {
        let (_root, path) = over(|path| {
            let db = Connection::open(path).unwrap();
            db.execute_batch(&format!("{sql}; PRAGMA application_id = {id}")).unwrap();
        });
        let db = Connection::open(&path).unwrap();
        assert_eq!(db.query_row("SELECT x FROM theirs", [], |row| row.get(0)), Ok(1));
    }
}

#[test]
fn where_no_file_can_be_a_private_index_serves() {
    let (_root, path) = over(|path| fs::create_dir(path).unwrap());
    assert!(path.is_dir());
}

#[test]
fn a_file_that_cannot_grow_is_given_up() {
    let root = crate::scratch();
    let (_log, scan) = filled(root.path(), 5);
    let mut index = Index::open(root.path()).unwrap();
    index.file.db().execute_batch("PRAGMA max_page_count = 1").unwrap();
    let pages: i64 = index.file.db().query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    index.file.db().execute_batch(&format!("PRAGMA query_only = ON; PRAGMA max_page_count = {pages}")).unwrap();
    assert_same(&mut index, &scan);
}

#[test]
fn an_index_of_another_log_is_made_anew() {
    let root = crate::scratch();
    let (log, _) = filled(root.path(), 5);
    Index::open(root.path()).unwrap().groups_of(Subject::Task(TaskId(0)), 1).unwrap();
    drop(log);
    // Shorter, longer and as long as the one that was indexed.
    for tasks in [3, 7, 5] {
        fs::remove_file(root.path().join("log.db")).unwrap();
        let mut log = Sqlite::open(root.path(), OPTIONS).unwrap();
        append(&mut log, &[Made::Booted]);
        drop(log);
        let (_log, mut scan) = filled(root.path(), tasks);
        scan.placed.clear();
        let reader = Reader::open(root.path()).unwrap();
        let mut all = Scan::default();
        let mut at = Head::default();
        for group in reader.groups(0, 100).unwrap() {
            all.add(group.n, decode(at, &group).unwrap());
            at = group.head();
        }
        assert_same(&mut Index::open(root.path()).unwrap(), &all);
    }
}

#[test]
fn a_log_that_is_rewritten_under_an_open_index_is_read_anew() {
    let root = crate::scratch();
    let (log, scan) = filled(root.path(), 5);
    let mut index = Index::open(root.path()).unwrap();
    assert_same(&mut index, &scan);
    drop(log);
    // The same file with other groups, each with the hash of the one before it.
    let db = Connection::open(root.path().join("log.db")).unwrap();
    db.execute_batch("DELETE FROM groups; DELETE FROM openings").unwrap();
    drop(db);
    let (_log, scan) = filled(root.path(), 3);
    assert_same(&mut index, &scan);
}

#[test]
fn a_group_that_was_changed_is_an_error_and_never_an_answer() {
    let root = crate::scratch();
    let (log, scan) = filled(root.path(), 5);
    let mut index = Index::open(root.path()).unwrap();
    assert_same(&mut index, &scan);
    drop(log);
    let db = Connection::open(root.path().join("log.db")).unwrap();
    let body: Vec<u8> = db.query_row("SELECT body FROM groups WHERE n = 2", [], |row| row.get(0)).unwrap();
    let body = String::from_utf8(body).unwrap().replace("shop", "bank").into_bytes();
    db.execute("UPDATE groups SET body = ?1 WHERE n = 2", [&body]).unwrap();
    let task = Subject::Task(TaskId(0));
    assert!(matches!(index.records_of(task, Most::ALL), Err(Read::Broken { n: 2, .. })));
    db.execute("UPDATE groups SET hash = ?1 WHERE n = 2", [Hash::of(&body).0]).unwrap();
    db.execute("DELETE FROM groups WHERE n = 1", []).unwrap();
    assert!(matches!(index.records_of(task, Most::ALL), Err(Read::Broken { .. })));
    fs::remove_file(root.path().join(FILE)).unwrap();
    assert!(matches!(Index::open(root.path()).unwrap().groups_of(task, 9), Err(Read::Broken { .. })));
}

#[test]
fn readers_keep_up_with_a_writer_and_with_each_other() {
    let root = crate::scratch();
    let mut log = Sqlite::open(root.path(), OPTIONS).unwrap();
    append(&mut log, &[Made::Began { task: 1, run: 1, parent: None }]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut index = Index::open(root.path()).unwrap();
                    let mut seen = 0;
                    let mut looks = 0;
                    while !done.load(Ordering::SeqCst) || looks < 3 {
                        let last = Reader::open(root.path()).unwrap().head().unwrap().n;
                        let found = index.records_of(Subject::Task(TaskId(1)), Most::ALL).unwrap();
                        let groups: Vec<u64> = found.records.iter().map(|placed| placed.group).collect();
                        let count = groups.len() as u64;
                        assert_eq!(groups, (1..=count).collect::<Vec<_>>(), "each group is about the task");
                        assert!(count >= last && count >= seen, "what was durable before is found");
                        seen = count;
                        looks += 1;
                    }
                })
            })
            .collect();
        for effect in 0..60 {
            append(&mut log, &[Made::Admitted { effect, task: 1, by: 1, grant: None, hold: None }]);
            append(&mut log, &[Made::Settled { effect }]);
        }
        done.store(true, Ordering::SeqCst);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    let mut index = Index::open(root.path()).unwrap();
    assert_eq!(index.groups_of(Subject::Task(TaskId(1)), usize::MAX).unwrap().0.len(), 121);
}

#[test]
fn reading_keeps_nobody_from_emptying_the_write_ahead_file() {
    let root = crate::scratch();
    let (mut log, _) = filled(root.path(), 5);
    let mut index = Index::open(root.path()).unwrap();
    index.groups_of(Subject::Task(TaskId(1)), 1).unwrap();
    append(&mut log, &[Made::Booted]);
    drop(log);
    assert!(fs::metadata(root.path().join("log.db-wal")).map_or(0, |wal| wal.len()) == 0, "no read is left open");
    drop(index);
}

#[test]
fn ids_are_read_as_they_are_written() {
    for subject in all_subjects() {
        assert_eq!(subject.to_string().parse::<Subject>(), Ok(subject));
    }
    for bad in ["", "task_", "boot_0000000000001", "agent:bot", "run_000000000000x1"] {
        assert!(bad.parse::<Subject>().is_err(), "{bad}");
    }
}
