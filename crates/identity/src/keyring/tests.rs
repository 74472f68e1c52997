use super::*;
use portreeve_core::{
    event::{Actor, Changed, Event, Record},
    state::State,
};
use proptest::prelude::*;
use std::{fs, path::Path};

const NOW: Millis = Millis(1_800_000_000_000);
const TENANT: &str = "0123";

/// A data folder's keys and record
struct House {
    place: tempfile::TempDir,
    state: State,
    given: BTreeMap<String, String>,
    sources: Sources,
    now: Millis,
}

impl House {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        Self { place, state: State::default(), given: BTreeMap::new(), sources: Sources::default(), now: NOW }
    }

    fn path(&self) -> std::path::PathBuf {
        self.place.path().join("keys")
    }

    fn keeper(&self) -> Keeper {
        let env = self.given.iter().map(|(name, text)| (name.clone(), text.clone().into())).collect();
        let folder = Folder::open(&self.path()).unwrap();
        Keeper::new(folder, Given::new(env, None).into(), self.sources.clone(), TENANT.to_owned())
    }

    fn record(&mut self, change: NewKey) {
        let event = Event::Changed(Changed::Key(change));
        self.state.apply(&Record { time: self.now, actor: Actor::System, event });
    }

    /// A start: what is found, and what had to be recorded
    fn start(&mut self, of: KeyUse) -> Result<(Keys, Option<NewKey>), Error> {
        let keeper = self.keeper();
        let loaded = keeper.load(of, self.state.keys(of), self.now)?;
        if let Some(change) = loaded.change.clone() {
            self.record(change);
        }
        keeper.tidy(of, &loaded.keys)?;
        Ok((loaded.keys, loaded.change))
    }

    /// A rotation that comes as far as this
    fn rotate(&mut self, of: KeyUse, keys: &Keys, at_once: bool, reached: Reached) -> String {
        let keeper = self.keeper();
        let until = if at_once { self.now } else { self.now.plus(overlap_ms(of)) };
        let prepared = keeper.prepare(of, keys, until).unwrap();
        assert!(is_vouched(TENANT, &prepared.change));
        let key = prepared.change.key.clone();
        if reached >= Reached::Recorded {
            self.record(prepared.change);
        }
        if reached >= Reached::Moved {
            self.keeper().folder.rename(&next_file(of), &file(of)).unwrap();
        }
        if reached == Reached::Done {
            keeper.next(of).unwrap();
        }
        key
    }
}

/// How far a rotation came before the process was killed
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reached {
    Prepared,
    Recorded,
    Moved,
    Done,
}

const REACHED: [Reached; 4] = [Reached::Prepared, Reached::Recorded, Reached::Moved, Reached::Done];

fn text(key: &SigningKey) -> String {
    STANDARD.encode(&*key.kept().unwrap())
}

fn files(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What is sealed with a key that is not in its place yet opens, wherever the next one comes from
#[test]
fn a_master_key_on_its_way_is_found_also_once_another_source_was_configured() {
    for reached in [Reached::Prepared, Reached::Recorded] {
        let mut house = House::new();
        let (keys, _) = house.start(KeyUse::Master).unwrap();
        let new = house.rotate(KeyUse::Master, &keys, true, reached);
        house.given.insert("ELSEWHERE".to_owned(), text(&SigningKey::make().unwrap()));
        house.sources.current.insert(KeyUse::Master, Source::Env("ELSEWHERE".to_owned()));
        let keeper = house.keeper();
        let loaded = keeper.load(KeyUse::Master, house.state.keys(KeyUse::Master), house.now).unwrap();
        let unrecorded = keeper.unrecorded(KeyUse::Master).unwrap().unwrap();
        let opens = loaded.keys.opening(&unrecorded);
        let opens: Vec<String> = opens.secrets(house.now).map(|key| key.public_key().to_string()).collect();
        assert!(opens.contains(&new), "{reached:?}: {opens:?}");
        // What was recorded counts on as an earlier one.
        keeper.tidy(KeyUse::Master, &loaded.keys).unwrap();
        house.record(loaded.change.unwrap());
        let (keys, _) = house.start(KeyUse::Master).unwrap();
        let counts: Vec<String> = keys.secrets(house.now).map(|key| key.public_key().to_string()).collect();
        assert_eq!(counts.contains(&new), reached == Reached::Recorded, "{counts:?}");
    }
}

#[test]
fn the_first_start_makes_keys_and_the_next_finds_them() {
    for of in KeyUse::ALL {
        let mut house = House::new();
        let (first, change) = house.start(of).unwrap();
        let change = change.unwrap();
        assert_eq!((change.before, change.vouched, change.key), (None, None, first.current().public_key().to_string()));
        let (again, change) = house.start(of).unwrap();
        assert_eq!((again.name(), change), (first.name(), None));
        assert_eq!(again.next(), first.next());
        assert_eq!(first.next().is_some(), is_told(of));
    }
}

proptest! {
    /// Whenever a rotation is broken off: the record's key is there at the next start, and those before it as long
    /// as they count
    #[test]
    fn whatever_is_broken_off_there_is_one_key_and_it_is_that_of_the_record(
        of in prop::sample::select(KeyUse::ALL.to_vec()),
        steps in prop::collection::vec((prop::sample::select(REACHED.to_vec()), any::<bool>(), 0..overlap_ms(KeyUse::Webhook)), 1..6),
    ) {
        let mut house = House::new();
        let mut keys = house.start(of).unwrap().0;
        // Every key so far, with its end.
        let mut all = vec![(keys.current().public_key().to_string(), Millis(i64::MAX))];
        for (reached, at_once, wait) in steps {
            let key = house.rotate(of, &keys, at_once, reached);
            if reached >= Reached::Recorded {
                let end = if at_once { house.now } else { house.now.plus(overlap_ms(of)) };
                all.iter_mut().for_each(|(_, until)| *until = (*until).min(end));
                all.push((key, Millis(i64::MAX)));
            }
            house.now = house.now.plus(wait);
            let (found, change) = house.start(of).unwrap();
            prop_assert_eq!(change, None, "nothing else is recorded");
            keys = found;
            prop_assert_eq!(&keys.current().public_key().to_string(), &all.last().unwrap().0);
            let now = house.now;
            for (key, until) in &all {
                let key: PublicKey = key.parse().unwrap();
                let counts = now < *until;
                prop_assert_eq!(keys.fitting(&key.thumbprint(), now).is_some(), counts);
                let secret = keys.secrets(now).any(|secret| secret.public_key() == key);
                prop_assert_eq!(secret, counts && (keeps_secret(of) || *until == Millis(i64::MAX)));
            }
            // Nothing lies about that is of no use any more; a master key that was prepared is the next one's.
            let prepared = of == KeyUse::Master && files(&house.path()).contains(&next_file(of));
            let secrets = keys.secrets(now).count() + usize::from(is_told(of) || prepared);
            prop_assert_eq!(files(&house.path()).len(), secrets, "{:?}", files(&house.path()));
        }
    }
}

#[test]
fn a_key_that_was_given_up_is_not_taken_up_again() {
    let mut house = House::new();
    let (keys, _) = house.start(KeyUse::Token).unwrap();
    let old = fs::read(house.path().join("token.key")).unwrap();
    house.rotate(KeyUse::Token, &keys, true, Reached::Done);
    fs::write(house.path().join("token.key"), old).unwrap();
    assert!(matches!(house.start(KeyUse::Token), Err(Error::GivenUp { name: "token", .. })));
}

#[test]
fn a_key_from_elsewhere_takes_over_at_a_start_and_the_file_goes() {
    for of in KeyUse::ALL {
        let mut house = House::new();
        let (first, _) = house.start(of).unwrap();
        let other = SigningKey::make().unwrap();
        house.given.insert("KEY".to_owned(), text(&other));
        house.sources.current.insert(of, Source::Env("KEY".to_owned()));
        let (second, change) = house.start(of).unwrap();
        let change = change.unwrap();
        assert_eq!(change.before.as_deref(), Some(first.current().public_key().to_string().as_str()));
        assert_eq!((change.source.as_str(), second.current().public_key()), ("env:KEY", other.public_key()));
        assert!(is_vouched(TENANT, &change), "the key in the file was there to vouch for it");
        assert_eq!(second.fitting(first.name(), NOW).is_some(), of != KeyUse::Answer);
        assert_eq!(second.secrets(NOW).count(), if keeps_secret(of) { 2 } else { 1 });
        assert!(!house.path().join(file(of)).exists());
        // Once more, from one variable to another: the one before is given too.
        house.given.insert("NEW".to_owned(), text(&SigningKey::make().unwrap()));
        house.sources.current.insert(of, Source::Env("NEW".to_owned()));
        house.sources.earlier.insert(of, Source::Env("KEY".to_owned()));
        assert!(is_vouched(TENANT, &house.start(of).unwrap().1.unwrap()));
        // And without it, nobody vouches.
        house.given.insert("LAST".to_owned(), text(&SigningKey::make().unwrap()));
        house.sources.current.insert(of, Source::Env("LAST".to_owned()));
        house.sources.earlier.clear();
        assert!(!is_vouched(TENANT, &house.start(of).unwrap().1.unwrap()));
        let keeper = house.keeper();
        let (keys, _) = house.start(of).unwrap();
        assert!(matches!(keeper.prepare(of, &keys, NOW), Err(NotRotated::Elsewhere { .. })));
        house.given.clear();
        assert!(matches!(house.start(of), Err(Error::Missing { from }) if from == "env:LAST"));
    }
}

#[test]
fn a_voucher_is_for_exactly_one_change() {
    let mut house = House::new();
    let (keys, _) = house.start(KeyUse::Answer).unwrap();
    let change = house.keeper().prepare(KeyUse::Answer, &keys, NOW).unwrap().change;
    assert!(is_vouched(TENANT, &change) && !is_vouched("other", &change));
    let other = SigningKey::make().unwrap().public_key().to_string();
    for wrong in [
        NewKey { of: KeyUse::Token, ..change.clone() },
        NewKey { key: other.clone(), ..change.clone() },
        NewKey { before: Some(other), ..change.clone() },
        NewKey { before: None, ..change.clone() },
        NewKey { vouched: None, ..change.clone() },
        NewKey { vouched: Some("AAAA".to_owned()), ..change.clone() },
    ] {
        assert!(!is_vouched(TENANT, &wrong), "{wrong:?}");
    }
}

#[test]
fn the_published_set_has_the_next_key_and_no_private_part() {
    let mut house = House::new();
    let (keys, _) = house.start(KeyUse::Token).unwrap();
    let (name, next) = (keys.name().to_owned(), keys.next().unwrap());
    let key = house.rotate(KeyUse::Token, &keys, false, Reached::Done);
    assert_eq!(key, next.to_string(), "what was published beforehand is what takes over");
    let (keys, _) = house.start(KeyUse::Token).unwrap();
    let kids = |now| -> Vec<String> {
        let jwks = keys.jwks(now);
        let all = jwks["keys"].as_array().unwrap();
        assert!(all.iter().all(|jwk| jwk.get("d").is_none() && jwk["alg"] == "EdDSA" && jwk["crv"] == "Ed25519"));
        all.iter().map(|jwk| jwk["kid"].as_str().unwrap().to_owned()).collect()
    };
    let current = vec![next.thumbprint(), keys.next().unwrap().thumbprint()];
    assert_eq!(kids(NOW), [current.clone(), vec![name]].concat());
    assert_eq!(kids(NOW.plus(overlap_ms(KeyUse::Token))), current);
}

#[test]
fn messages_carry_both_signatures_while_both_count() {
    use crate::webhook::{self, Key, verify};
    let (first, second) = (SigningKey::make().unwrap(), SigningKey::make().unwrap());
    let keys: Vec<_> = [&first, &second].map(|key| Key::Public(key.public_key())).into();
    let turned = Keys::one(first).turned(second.into(), NOW.plus(1));
    let sent = webhook::sign_by(&turned, "id", NOW, b"body").unwrap();
    for key in &keys {
        verify(std::slice::from_ref(key), &sent, b"body", NOW).unwrap();
    }
    let later = webhook::sign_by(&turned, "id", NOW.plus(1), b"body").unwrap();
    assert!(verify(&keys[..1], &later, b"body", NOW).is_err());
    verify(&keys[1..], &later, b"body", NOW).unwrap();
}
