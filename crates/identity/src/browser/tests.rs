use super::*;

const NOW: Millis = Millis(1_800_000_000_000);

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn of(user: &str) -> Bearer {
    Bearer { user: name(user), generation: 1 }
}

const LINK: SignedIn = SignedIn::Link { by: None };

fn sessions() -> Sessions {
    Sessions::new().unwrap()
}

#[test]
fn a_session_says_who_and_how() {
    let sessions = sessions();
    let link = sessions.begin(of("ann"), LINK, NOW).unwrap();
    let passkey = sessions.begin(of("ann"), SignedIn::Passkey { by: None, fingerprint: Hash::default() }, NOW).unwrap();
    assert_ne!(link, passkey);
    let later = NOW.plus(1000);
    let session = sessions.look(&link, later).unwrap();
    assert_eq!((session.bearer, session.how, session.passkey), (of("ann"), LINK, None));
    assert_eq!((session.since, session.until), (NOW, later.plus(IDLE_MS)));
    assert_eq!(sessions.look(&passkey, later).unwrap().passkey, Some(NOW));
    assert!(sessions.passkey_used(&link, later));
    let session = sessions.look(&link, later).unwrap();
    assert_eq!((session.how, session.passkey), (LINK, Some(later)), "how they came in stays");
    assert!(!format!("{sessions:?}").contains(&link));
}

#[test]
fn it_ends_when_idle_or_old() {
    let sessions = sessions();
    let cookie = sessions.begin(of("ann"), LINK, NOW).unwrap();
    assert!(sessions.peek(&cookie, NOW.plus(IDLE_MS - 1)).is_some());
    assert!(sessions.peek(&cookie, NOW.plus(IDLE_MS)).is_none(), "peeking is no use");
    assert!(sessions.look(&cookie, NOW).is_none(), "what is over stays over");

    let cookie = sessions.begin(of("ann"), LINK, NOW).unwrap();
    for step in 0..=24 {
        assert!(sessions.look(&cookie, NOW.plus(step * (IDLE_MS - 1))).is_some());
    }
    assert!(sessions.look(&cookie, NOW.plus(LIFETIME_MS - 1)).is_some());
    assert!(sessions.look(&cookie, NOW.plus(LIFETIME_MS)).is_none());

    let cookie = sessions.begin(of("ann"), LINK, NOW).unwrap();
    assert!(!sessions.passkey_used(&cookie, NOW.plus(IDLE_MS)));
    let cookie = sessions.begin(of("ann"), LINK, NOW).unwrap();
    assert!(sessions.look(&cookie, NOW.plus(-1)).is_none(), "a clock that went back ends it");
}

#[test]
fn signing_out_ends_one_or_all() {
    let sessions = sessions();
    let [one, two, other] = ["ann", "ann", "ben"].map(|user| sessions.begin(of(user), LINK, NOW).unwrap());
    assert_eq!(sessions.end(&one), Some(name("ann")));
    assert_eq!((sessions.end(&one), sessions.look(&one, NOW)), (None, None));
    assert!(sessions.look(&two, NOW).is_some());
    assert_eq!(sessions.end_all(&of("ann")), 1);
    assert!(sessions.look(&two, NOW).is_none());
    assert!(sessions.look(&other, NOW).is_some());
}

#[test]
fn forms_belong_to_one_session() {
    let sessions = sessions();
    let [cookie, other] = ["ann", "ann"].map(|user| sessions.begin(of(user), LINK, NOW).unwrap());
    let csrf = sessions.look(&cookie, NOW).unwrap().csrf;
    assert_eq!(sessions.peek(&cookie, NOW.plus(1)).unwrap().csrf, csrf, "the same for all pages");
    assert!(sessions.check_csrf(&cookie, &csrf, NOW));
    assert!(!sessions.check_csrf(&other, &csrf, NOW));
    assert!(!sessions.check_csrf(&cookie, &csrf, NOW.plus(IDLE_MS)));
    assert!(!sessions.check_csrf("", &csrf, NOW) && !sessions.check_csrf(&csrf, &csrf, NOW));

    let cookie = sessions.begin(of("ann"), LINK, NOW).unwrap();
    let csrf = sessions.look(&cookie, NOW).unwrap().csrf;
    assert_ne!(csrf, cookie, "a page never shows the cookie");
    for at in 0..csrf.len() {
        let mut changed = csrf.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'Q' } else { b'A' };
        assert!(!sessions.check_csrf(&cookie, &String::from_utf8(changed).unwrap(), NOW), "{at}");
    }
    for bad in ["", "A", csrf.get(1..).unwrap(), &format!("{csrf}="), &format!("{csrf}{csrf}"), &cookie] {
        assert!(!sessions.check_csrf(&cookie, bad, NOW), "{bad}");
    }
    let elsewhere = Sessions::new().unwrap();
    elsewhere.live().clone_from(&sessions.live());
    assert!(!elsewhere.check_csrf(&cookie, &csrf, NOW), "another process, other forms");
}

#[test]
fn their_number_is_bounded() {
    let sessions = sessions();
    let cookies: Vec<_> =
        (0..SESSIONS_OF_USER_MAX as i64).map(|at| sessions.begin(of("ann"), LINK, NOW.plus(at)).unwrap()).collect();
    let later = NOW.plus(1000);
    assert!(sessions.look(&cookies[0], later).is_some());
    sessions.begin(of("ann"), LINK, later).unwrap();
    assert!(sessions.look(&cookies[0], later).is_some(), "it was used");
    assert!(sessions.look(&cookies[1], later).is_none(), "it was used longest ago");
    for at in 0..SESSIONS_MAX - SESSIONS_OF_USER_MAX {
        sessions.begin(of(&format!("u{at}")), LINK, later).unwrap();
    }
    assert_eq!(sessions.begin(of("zoe"), LINK, later), Err(NotDrawn::Full));
    assert!(sessions.begin(of("ann"), LINK, later).is_ok(), "who has some can replace one");
    assert!(sessions.begin(of("zoe"), LINK, later.plus(IDLE_MS)).is_ok());
}

#[test]
fn nothing_else_is_a_cookie() {
    let sessions = sessions();
    let cookie = sessions.begin(of("ann"), LINK, NOW).unwrap();
    let hash = secret::digest::<COOKIE_BYTES>(&cookie).unwrap().to_string();
    for bad in ["", cookie.get(..42).unwrap(), &format!("{cookie}A"), &hash, &cookie.to_lowercase()] {
        assert_eq!(sessions.look(bad, NOW), None, "{bad}");
    }
}

#[test]
fn a_passkey_shows_for_minutes_that_somebody_is_there() {
    let sessions = sessions();
    let link = sessions.begin(of("ann"), LINK, NOW).unwrap();
    let at = |now: Millis| sessions.look(&link, now).unwrap().is_fresh(now);
    assert!(!at(NOW), "a link is no passkey");
    assert!(sessions.passkey_used(&link, NOW.plus(10)));
    assert!(at(NOW.plus(10)) && at(NOW.plus(10 + FRESH_MS - 1)) && !at(NOW.plus(10 + FRESH_MS)));
    let session = sessions.look(&link, NOW.plus(10)).unwrap();
    assert!(!session.is_fresh(NOW.plus(9)), "a clock that went back makes nothing fresh");
    let passkey = sessions.begin(of("ann"), SignedIn::Passkey { by: None, fingerprint: Hash::default() }, NOW).unwrap();
    assert!(sessions.look(&passkey, NOW).unwrap().is_fresh(NOW));
}
