//! Certificates that are renewed while the server runs.

use std::path::Path;
use std::time::Duration;

use rcgen::CertifiedKey;

use super::tunnel::Tunnel;
use super::world::{Dir, HOST, World, user};
use crate::config::{Certificates, Front, Pin, Site};

/// As certbot does it: new files, and links that lead to them.
#[tokio::test]
async fn files_that_are_replaced_are_taken_into_use_and_connections_go_on() {
    let (old, new) = (made(), made());
    let dir = Dir::new();
    let (chain, key) = (dir.0.join("chain.pem"), dir.0.join("key.pem"));
    for (number, made) in [(1, &old), (2, &new)] {
        std::fs::write(dir.0.join(format!("chain{number}.pem")), made.cert.pem()).unwrap();
        std::fs::write(dir.0.join(format!("key{number}.pem")), made.signing_key.serialize_pem()).unwrap();
    }
    link("chain1.pem", &chain);
    link("key1.pem", &key);
    let site = Site::Directory(dir.0.join("sub"));
    let files = Certificates::Files { chain: chain.clone(), key: key.clone() };
    let world = World::of(dir, Front::Direct(files), site, vec![user(1)]).await;
    assert_eq!(shown(&world).await, old.cert.der().to_vec());
    let mut client = world.connect().await;
    let mut tunnel = Tunnel::open(&mut client, 1).await;

    // Half of it is no pair, so the old one stays.
    link("chain2.pem", &chain);
    wait(300).await;
    assert_eq!(shown(&world).await, old.cert.der().to_vec());

    link("key2.pem", &key);
    for _ in 0..300 {
        if world.control.pin() == Some(pin(&new)) {
            break;
        }
        wait(1).await;
    }
    assert_eq!(world.control.pin(), Some(pin(&new)));
    assert_eq!(shown(&world).await, new.cert.der().to_vec());
    tunnel.send(&[b"as before"]);
    assert_eq!(tunnel.receive().await, b"as before");

    // Nonsense in the files is no certificate.
    std::fs::write(&chain, "no certificate").unwrap();
    wait(300).await;
    assert_eq!(shown(&world).await, new.cert.der().to_vec());
}

fn made() -> CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap()
}

fn pin(of: &CertifiedKey<rcgen::KeyPair>) -> Pin {
    let (_, parsed) = x509_parser::parse_x509_certificate(of.cert.der()).unwrap();
    Pin::of(parsed.tbs_certificate.subject_pki.raw)
}

/// The certificate that a new visitor sees.
async fn shown(world: &World) -> Vec<u8> {
    let tls = world.tls(b"h2").await;
    tls.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

/// Makes a link lead elsewhere, in one step.
fn link(to: &str, link: &Path) {
    let new = link.with_extension("new");
    std::os::unix::fs::symlink(to, &new).unwrap();
    std::fs::rename(new, link).unwrap();
}

/// Lets so many seconds pass, at no cost.
async fn wait(seconds: u64) {
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}
