use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn makes_private_folders_and_files() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a/b/data");
    let folder = Folder::hold(&path).unwrap();
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&folder.touch("log.db").unwrap()), 0o600);
    assert_eq!(mode(&path.join("lock")), 0o600);
}

#[test]
fn takes_rights_on_a_file_back() {
    let root = tempfile::tempdir().unwrap();
    let folder = Folder::hold(&root.path().join("data")).unwrap();
    let path = folder.touch("log.db").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    folder.touch("log.db").unwrap();
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn refuses_a_folder_that_others_can_enter() {
    let root = tempfile::tempdir().unwrap();
    for rights in [0o750, 0o701, 0o755, 0o777] {
        fs::set_permissions(root.path(), Permissions::from_mode(rights)).unwrap();
        let refused = Folder::hold(root.path()).unwrap_err();
        assert!(matches!(&refused, Open::Exposed { mode, .. } if *mode == rights), "{refused}");
        assert!(refused.to_string().contains("chmod 700"), "{refused}");
    }
    assert!(!root.path().join("lock").exists(), "nothing is made in it");
}

#[test]
fn is_held_once_and_names_the_holder() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("data");
    let first = Folder::hold(&path).unwrap();
    let second = Folder::hold(&path).unwrap_err();
    assert!(matches!(second, Open::Held { pid } if pid == Some(std::process::id())), "{second}");
    drop(first);
    Folder::hold(&path).unwrap();
}

#[test]
fn knows_network_file_systems() {
    assert_eq!(network(0x6969), Some("NFS"));
    assert_eq!(network(0xFF53_4D42), Some("CIFS"));
    assert!(network(0x6573_5546).unwrap().contains("sshfs"));
    for (magic, name) in [(0xEF53, "ext4"), (0x0102_1994, "tmpfs"), (0x9123_683E, "btrfs"), (0x5846_5342, "xfs")] {
        assert_eq!(network(magic), None, "{name}");
    }
}
