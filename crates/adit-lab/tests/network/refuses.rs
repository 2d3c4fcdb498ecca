//! Links that are no good, and people who may not.

use crate::scene::Scene;

#[test]
fn a_link_that_is_no_good_says_why() {
    let scene = Scene::new();
    let join = |link: &str| scene.laptop.refused(&format!("join {link} --profile {}", scene.laptop.name));
    // Used.
    let used = scene.invite("phone");
    scene.phone.adit(&format!("join {used} --profile {}", scene.phone.name)).ok();
    assert!(join(&used).contains("used"), "{}", join(&used));
    // Revoked.
    let revoked = scene.server.json("invite --json");
    scene.server.adit(&format!("invite --revoke {}", revoked["invite"])).ok();
    assert!(join(revoked["link"].as_str().unwrap()).contains("revoked"));
    // Expired.
    let expired = scene.invite("--expires 1s");
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert!(join(&expired).contains("expired"));
    // Altered.
    let open = scene.invite("tablet");
    let cut = &open[..open.len() - 3];
    let said = join(cut);
    assert!(said.contains("altered") || said.contains("cut"), "{said}");
    // And nothing of it was kept.
    assert!(!scene.laptop.dir.join("profiles").join(format!("{}.conf", scene.laptop.name)).exists());
    assert_eq!(scene.server.json("peers --json").as_array().unwrap().len(), 1);
}

#[test]
fn mistakes_on_the_command_line_change_nothing_and_say_what_to_do() {
    let scene = Scene::new();
    let refused = |line: &str, expected: &str| {
        let said = scene.server.refused(line);
        assert!(said.contains(expected), "`adit {line}` says {said}");
    };
    refused("peer show nobody", "no device called `nobody`");
    refused("peer disable nobody", "nobody");
    refused("peer limit nobody --down 20", "20mbit");
    refused("invite --revoke 999", "999");
    refused("invite --expires 5 tv", "24h");
    refused("invite ../../etc/passwd", "name");
    refused("invite --for wireguard", "NAME");
    refused("server up --host 203.0.113.2", "already serves");
    assert_eq!(scene.server.json("peers --json").as_array().unwrap().len(), 0);
}

#[test]
fn a_stolen_database_redeems_no_invite() {
    let scene = Scene::new();
    let link = scene.invite("phone");
    let secret = link.rsplit(':').next().unwrap();
    let db = std::fs::read_dir(scene.server.dir.join("state/server/db")).unwrap();
    for file in db {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes).to_uppercase();
        assert!(!text.contains(&secret.to_uppercase()[..20]), "the link is in the database");
    }
}
