use super::*;
use crate::passkey::authenticator::{Authenticator, ELIGIBLE, PRESENT, VERIFIED};
use std::{fs, os::unix::fs::PermissionsExt as _};

const NOW: Millis = Millis(1_800_000_000_000);
const CHALLENGE: &[u8] = b"challenge";

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn of(user: &str) -> Bearer {
    Bearer { user: name(user), generation: 1 }
}

fn party() -> RelyingParty {
    RelyingParty::of_origin("http://localhost:7420").unwrap()
}

struct World {
    passkeys: Passkeys,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { passkeys: Passkeys::open(&folder.path().join("people")).unwrap(), folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("people")
    }

    fn add(&self, user: &str, authenticator: &Authenticator) -> Result<Passkey, Refused> {
        self.add_for(&of(user), authenticator)
    }

    fn add_for(&self, bearer: &Bearer, authenticator: &Authenticator) -> Result<Passkey, Refused> {
        let registration = authenticator.create(CHALLENGE);
        let made = self.passkeys.made(&party(), (bearer, None), ("key", CHALLENGE), &registration, NOW)?;
        self.passkeys.keep(&made)?;
        Ok(made.passkey())
    }

    fn check(&self, user: Option<&str>, authenticator: &Authenticator) -> Result<Checked, Refused> {
        let user = user.map(of);
        self.passkeys.check(&party(), user.as_ref(), CHALLENGE, authenticator.get(CHALLENGE), NOW.plus(1))
    }

    fn handle(&self, user: &str) -> Vec<u8> {
        let options = self.passkeys.creation_options(&party(), &of(user), CHALLENGE).unwrap();
        base64url::decode(options["user"]["id"].as_str().unwrap()).unwrap()
    }
}

#[test]
fn a_passkey_is_registered_used_and_removed() {
    let world = World::new();
    let mut hers = Authenticator::ed(&party());
    hers.user_handle = Some(world.handle("ann"));
    let made = world.add("ann", &hers).unwrap();
    assert_eq!((made.credential.as_slice(), made.used, made.created), (hers.id.as_slice(), None, NOW));
    for user in [Some("ann"), None] {
        let checked = world.check(user, &hers).unwrap();
        assert_eq!((checked.bearer, checked.label.as_str(), checked.created), (of("ann"), "key", NOW));
        assert_eq!(checked.proof.verify(CHALLENGE), Ok(()));
        assert_eq!(checked.proof.public_key, made.public_key);
    }
    assert!(matches!(world.check(Some("ben"), &hers), Err(Refused::Unknown)));
    // A restart changes nothing.
    let again = Passkeys::open(&world.path()).unwrap();
    assert_eq!(again.of(&of("ann")), world.passkeys.of(&of("ann")));
    assert_eq!(again.of(&of("ann"))[0].used, Some(NOW.plus(1)));
    assert_eq!(again.people().get(&name("ann")), world.passkeys.people().get(&name("ann")));

    assert!(!world.passkeys.remove(&of("ben"), &hers.id).unwrap());
    assert!(world.passkeys.remove(&of("ann"), &hers.id).unwrap());
    assert!(!world.passkeys.remove(&of("ann"), &hers.id).unwrap());
    assert!(matches!(world.check(Some("ann"), &hers), Err(Refused::Unknown)));
    assert_eq!(Passkeys::open(&world.path()).unwrap().of(&of("ann")), []);
}

#[test]
fn a_passkey_keeps_who_had_its_link_made() {
    let world = World::new();
    let mut hers = Authenticator::ed(&party());
    hers.user_handle = Some(world.handle("ann"));
    let (bearer, registration) = (of("ann"), hers.create(CHALLENGE));
    let made = world.passkeys.made(&party(), (&bearer, Some("user:kim")), ("key", CHALLENGE), &registration, NOW);
    world.passkeys.keep(&made.unwrap()).unwrap();
    let mut more = Authenticator::ed(&party());
    more.user_handle.clone_from(&hers.user_handle);
    world.add("ann", &more).unwrap();
    for user in [Some("ann"), None] {
        assert_eq!(world.check(user, &hers).unwrap().by.as_deref(), Some("user:kim"));
        assert_eq!(world.check(user, &more).unwrap().by, None);
    }
    let again = Passkeys::open(&world.path()).unwrap();
    let kept: Vec<_> = again.of(&bearer).into_iter().map(|passkey| passkey.by).collect();
    assert_eq!(kept, [Some("user:kim".to_owned()), None]);
}

#[test]
fn the_browser_is_asked_for_the_right_thing() {
    let world = World::new();
    let hers = Authenticator::ed(&party());
    let handle = world.handle("ann");
    world.add("ann", &hers).unwrap();
    assert_eq!((handle.len(), world.handle("ann")), (32, handle));
    let id = base64url::encode(&hers.id);
    let creation = world.passkeys.creation_options(&party(), &of("ann"), CHALLENGE).unwrap();
    assert_eq!(creation["rp"]["id"], "localhost");
    assert_eq!(creation["challenge"], base64url::encode(CHALLENGE));
    assert_eq!(creation["excludeCredentials"][0]["id"], id.as_str());
    assert_eq!(creation["authenticatorSelection"]["userVerification"], "required");
    assert_eq!(creation["attestation"], "none");
    let algorithms: Vec<_> =
        creation["pubKeyCredParams"].as_array().unwrap().iter().map(|it| it["alg"].as_i64()).collect();
    assert_eq!(algorithms, [Some(-8), Some(-7), Some(-257)]);
    let request = world.passkeys.request_options(&party(), Some(&of("ann")), CHALLENGE);
    assert_eq!((&request["rpId"], &request["userVerification"]), (&"localhost".into(), &"required".into()));
    assert_eq!(request["allowCredentials"][0]["id"], id.as_str());
    let anybody = world.passkeys.request_options(&party(), None, CHALLENGE);
    assert_eq!(anybody["allowCredentials"], serde_json::json!([]), "who has which keys is nobody's business");
}

#[test]
fn a_passkey_is_one_user_s() {
    let world = World::new();
    let mut hers = Authenticator::ed(&party());
    world.add("ann", &hers).unwrap();
    assert!(matches!(world.add("ann", &hers), Err(Refused::Known)));
    assert!(matches!(world.add("ben", &hers), Err(Refused::Known)));
    assert!(matches!(world.check(None, &hers), Err(Refused::UserHandle)), "who is unknown has to be named");
    assert!(world.check(Some("ann"), &hers).is_ok());
    hers.user_handle = Some(world.handle("ben"));
    for user in [Some("ann"), None] {
        assert!(matches!(world.check(user, &hers), Err(Refused::UserHandle)));
    }
}

#[test]
fn what_does_not_hold_changes_nothing() {
    let world = World::new();
    let mut hers = Authenticator::ed(&party());
    hers.counter = 7;
    world.add("ann", &hers).unwrap();
    let before = fs::read(world.path().join("ann.json")).unwrap();
    for (counter, good) in [(7, false), (6, false), (0, false)] {
        hers.counter = counter;
        let refused = world.check(Some("ann"), &hers);
        assert!(matches!(refused, Err(Refused::Counter { stored: 7, seen, .. }) if seen == counter), "{good}");
    }
    hers.counter = 8;
    hers.flags = PRESENT;
    assert!(matches!(world.check(Some("ann"), &hers), Err(Refused::Wrong(Wrong::NotVerified))));
    hers.flags = PRESENT | VERIFIED | ELIGIBLE;
    assert!(matches!(world.check(Some("ann"), &hers), Err(Refused::Wrong(Wrong::Backup))));
    hers.flags = PRESENT | VERIFIED;
    let mut forged = Authenticator::ed(&party());
    (forged.id, forged.counter) = (hers.id.clone(), 8);
    assert!(matches!(world.check(Some("ann"), &forged), Err(Refused::Wrong(Wrong::Signature))));
    let other = world.passkeys.check(&party(), Some(&of("ann")), b"other", hers.get(CHALLENGE), NOW);
    assert!(matches!(other, Err(Refused::Wrong(Wrong::Challenge))));
    assert_eq!(fs::read(world.path().join("ann.json")).unwrap(), before);
    assert!(world.check(Some("ann"), &hers).is_ok());
    assert!(matches!(world.check(Some("ann"), &hers), Err(Refused::Counter { stored: 8, seen: 8, .. })), "a replay");
}

#[test]
fn what_cannot_be_written_does_not_count() {
    let world = World::new();
    let hers = Authenticator::ed(&party());
    world.add("ann", &hers).unwrap();
    // A folder that is not empty stands where the file would be written: this works for root too.
    fs::create_dir_all(world.path().join("ann.new/x")).unwrap();
    assert!(matches!(world.check(Some("ann"), &hers), Err(Refused::Store(_))));
    assert!(matches!(world.add("ann", &Authenticator::ed(&party())), Err(Refused::Store(_))));
    assert!(world.passkeys.remove(&of("ann"), &hers.id).is_err());
    assert_eq!((world.passkeys.of(&of("ann")).len(), world.passkeys.of(&of("ann"))[0].used), (1, None));
    fs::remove_dir_all(world.path().join("ann.new")).unwrap();
    fs::write(world.path().join("ann.new"), "left behind by a crash").unwrap();
    assert!(world.check(Some("ann"), &hers).is_ok());
}

#[test]
fn their_number_and_labels_are_bounded() {
    let world = World::new();
    for _ in 0..KEYS_MAX {
        world.add("ann", &Authenticator::ed(&party())).unwrap();
    }
    assert!(matches!(world.add("ann", &Authenticator::ed(&party())), Err(Refused::Full)));
    assert!(matches!(world.passkeys.creation_options(&party(), &of("ann"), CHALLENGE), Err(Refused::Full)));
    assert!(Passkeys::open(&world.path()).is_ok());
    let authenticator = Authenticator::ed(&party());
    let made = authenticator.create(CHALLENGE);
    let register = |label: &str| world.passkeys.made(&party(), (&of("ben"), None), (label, CHALLENGE), &made, NOW);
    for bad in ["", "  ", "a\nb", &"x".repeat(LABEL_MAX + 1)] {
        assert!(matches!(register(bad), Err(Refused::Label)), "{bad}");
    }
    assert_eq!(register(" Ann's laptop ").unwrap().passkey().label, "Ann's laptop");
}

#[test]
fn only_its_owner_can_open_the_files() {
    let world = World::new();
    world.add("ann", &Authenticator::ed(&party())).unwrap();
    let file = world.path().join("ann.json");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!((mode(&world.path()), mode(&file)), (0o700, 0o600));
    for path in [world.path(), file] {
        let good = mode(&path);
        for bad in [good | 0o020, good | 0o004] {
            set(&path, bad);
            assert!(matches!(Passkeys::open(&world.path()), Err(Error::Open { mode, .. }) if mode == bad));
        }
        set(&path, good);
    }
    assert!(Passkeys::open(&world.path()).is_ok());
}

#[test]
fn a_file_is_as_it_was_written_or_damaged() {
    let world = World::new();
    world.add("ann", &Authenticator::ed(&party())).unwrap();
    let path = world.path().join("ann.json");
    let text = fs::read_to_string(&path).unwrap();
    let opens = |path: &Path, text: &str| {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
        Passkeys::open(&world.path()).map(drop)
    };
    assert!(opens(&path, &text).is_ok());
    for bad in [
        String::new(),
        text.replace("\"v\": 1", "\"v\": 2"),
        text.replace("\"ann\"", "\"ben\""),
        text.replace("\"v\": 1", "\"v\": 1, \"more\": 1"),
        text.replace("\"handle\": \"", "\"handle\": \"AAAA"),
        text.replace("\"credential\": \"", "\"credential\": \"="),
    ] {
        assert_ne!(bad, text);
        assert!(matches!(opens(&path, &bad), Err(Error::Damaged { .. })), "{bad}");
    }
    assert!(opens(&path, &text).is_ok());
    // The same key under another user.
    let other = text.replace("\"ann\"", "\"ben\"");
    assert!(matches!(opens(&world.path().join("ben.json"), &other), Err(Error::Damaged { .. })));
}

#[test]
fn who_gets_a_name_does_not_get_its_passkeys() {
    let world = World::new();
    let mut hers = Authenticator::ed(&party());
    hers.user_handle = Some(world.handle("ann"));
    world.add("ann", &hers).unwrap();
    let next = Bearer { generation: 2, ..of("ann") };
    let check = |who: Option<&Bearer>| {
        world.passkeys.check(&party(), who, CHALLENGE, hers.get(CHALLENGE), NOW).map(|checked| checked.bearer)
    };
    assert!(matches!(check(Some(&next)), Err(Refused::Unknown)));
    assert_eq!(check(None).unwrap(), of("ann"), "whoever asks has to see that this is not who bears the name now");
    assert_eq!(world.passkeys.of(&next), []);
    assert!(!world.passkeys.remove(&next, &hers.id).unwrap());
    let asked = world.passkeys.request_options(&party(), Some(&next), CHALLENGE);
    assert_eq!(asked["allowCredentials"], serde_json::json!([]));
    // The next bearer registers one: nothing of the first is left, and the first cannot come back.
    world.add_for(&next, &Authenticator::ed(&party())).unwrap();
    assert!(matches!(check(None), Err(Refused::Unknown)));
    assert!(matches!(world.add("ann", &hers), Err(Refused::Unknown)));
    let again = Passkeys::open(&world.path()).unwrap();
    assert_eq!((again.of(&next).len(), again.of(&of("ann")).len()), (1, 0));
}

#[test]
fn what_is_made_counts_once_it_is_kept() {
    let world = World::new();
    let hers = Authenticator::ed(&party());
    let registration = hers.create(CHALLENGE);
    let made = world.passkeys.made(&party(), (&of("ann"), None), ("key", CHALLENGE), &registration, NOW).unwrap();
    assert!(matches!(world.check(Some("ann"), &hers), Err(Refused::Unknown)));
    assert_eq!(world.passkeys.of(&of("ann")), []);
    world.passkeys.keep(&made).unwrap();
    assert!(world.check(Some("ann"), &hers).is_ok());
    assert!(matches!(world.passkeys.keep(&made), Err(Refused::Known)), "twice is once");
}
