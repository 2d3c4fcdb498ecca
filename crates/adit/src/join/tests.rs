//! Joining on this machine's loopback: the server is a tunnel of ours whose inside is a channel, and answers as it is told.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use adit_protocol::Secret;
use adit_transport::config::Pin;
use adit_wireguard::PublicKey;

use super::*;
use crate::invite::HttpsOffer;
use crate::profile::wg_quick::{Listen, Shape, SiteSource, WebFront, WebSite};

#[tokio::test]
async fn over_udp() {
    let server = Server::start(Web::No, |request| Some(admit(request))).await;
    let joined = server.join(&server.invite()).await.unwrap();
    assert_eq!((joined.name.as_str(), joined.addresses[0].to_string()), ("laptop", "10.77.0.2/24".to_owned()));
    let asked = server.asked();
    assert_eq!(asked[0].key, device().public_key());
    assert_eq!((asked[0].name.as_str(), asked[0].system.as_str()), ("laptop", "a test"));
    assert_eq!(asked[0].https_key, HttpsKey::of(&device()).unwrap());
}

#[tokio::test]
async fn over_https_alone() {
    let server = Server::start(Web::Yes, |request| Some(admit(request))).await;
    let invite = Invite { udp_port: None, ..server.invite() };
    assert_eq!(server.join(&invite).await.unwrap().name, "laptop");
}

#[tokio::test]
async fn over_https_where_udp_gets_no_answer() {
    let server = Server::start(Web::Yes, |request| Some(admit(request))).await;
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let invite = Invite { udp_port: Some(silent.local_addr().unwrap().port()), ..server.invite() };
    assert_eq!(server.join(&invite).await.unwrap().name, "laptop");
}

#[tokio::test]
async fn a_refusal_says_which() {
    for refusal in [Refusal::Used, Refusal::Expired, Refusal::Revoked, Refusal::Full] {
        let server = Server::start(Web::No, move |_| Some(Reply::Refused(refusal))).await;
        let error = server.join(&server.invite()).await.unwrap_err();
        assert!(matches!(error, JoinError::Refused(said) if said == refusal), "{error}");
        assert_eq!(server.asked().len(), 1, "a refusal is not asked for again");
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_is_asked_for_again_with_the_same_question() {
    let mut lost = false;
    let server =
        Server::start(Web::No, move |request| std::mem::replace(&mut lost, true).then(|| admit(request))).await;
    assert_eq!(server.join(&server.invite()).await.unwrap().name, "laptop");
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0], asked[1]);
}

#[tokio::test]
async fn a_server_that_cannot_now_is_asked_again() {
    let mut able = false;
    let server = Server::start(Web::No, move |request| {
        let able = std::mem::replace(&mut able, true);
        Some(if able { admit(request) } else { Reply::Refused(Refusal::Unable) })
    })
    .await;
    assert_eq!(server.join(&server.invite()).await.unwrap().name, "laptop");
}

#[tokio::test]
async fn a_server_that_never_can_says_so_at_the_end() {
    let server = Server::start(Web::No, |_| Some(Reply::Refused(Refusal::Unable))).await;
    let error = server.join_until_reached().await;
    assert!(matches!(error, JoinError::Refused(Refusal::Unable)), "{error}");
}

#[tokio::test]
async fn a_server_that_is_reached_and_does_not_answer_is_told_from_none() {
    let server = Server::start(Web::No, |_| None).await;
    let error = server.join_until_reached().await;
    assert!(matches!(&error, JoinError::NoReply { host } if host == "127.0.0.1"), "{error}");
}

#[tokio::test]
async fn an_invite_that_the_server_does_not_know_gets_no_answer() {
    let server = Server::start(Web::No, |request| Some(admit(request))).await;
    let forged = Invite { secret: Secret::new([0x66; 16]), ..server.invite() };
    let error = server.join_in_vain(&forged).await;
    let JoinError::Silent(tried) = &error else { panic!("{error}") };
    assert_eq!((tried[0].host.as_str(), tried[0].udp_port), ("127.0.0.1", forged.udp_port));
    assert!(error.to_string().contains("on UDP port"), "{error}");
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_link_that_is_over_by_our_clock_is_tried_and_the_clock_is_named_if_nobody_answers() {
    let server = Server::start(Web::No, |request| Some(admit(request))).await;
    let over = Invite { expires: 1, ..server.invite() };
    assert!(server.join(&over).await.is_ok(), "the server knows better");
    let error = server.join_in_vain(&Invite { secret: Secret::new([0x66; 16]), ..over }).await;
    assert!(matches!(error, JoinError::Expired(_)), "{error}");
    assert!(error.to_string().contains("if the clock is wrong"), "{error}");
}

#[tokio::test]
async fn a_web_site_with_another_key_is_the_wrong_server() {
    let server = Server::start(Web::Yes, |request| Some(admit(request))).await;
    let mut invite = Invite { udp_port: None, ..server.invite() };
    invite.https.as_mut().unwrap().pin = Some(Pin::from_hash([1; 32]));
    let options = Options { limit: Duration::from_secs(5), ..options() };
    let error = redeem(&invite, &device(), "laptop", &options).await.unwrap_err();
    assert!(matches!(error, JoinError::WrongServer { .. }), "{error}");
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_server_that_names_another_as_the_network_s_is_the_wrong_one() {
    let other = PrivateKey::new([0x77; 32]).public_key();
    let server = Server::start(Web::No, move |request| match admit(request) {
        Reply::Admitted(membership) => Some(Reply::Admitted(Membership { server: other, ..membership })),
        refused @ Reply::Refused(_) => Some(refused),
    })
    .await;
    let error = server.join(&server.invite()).await.unwrap_err();
    assert!(matches!(error, JoinError::WrongServer { .. }), "{error}");
}

#[tokio::test]
async fn the_hosts_are_tried_in_order_and_the_one_that_answers_is_the_first_afterwards() {
    let server = Server::start(Web::No, |request| Some(admit(request))).await;
    // No datagram is ever sent to the first: sockets may not broadcast.
    let hosts = ["255.255.255.255", "127.0.0.1"].map(str::to_owned).to_vec();
    let options = Options { limit: Duration::from_secs(6), ..options() };
    let joined = redeem(&Invite { hosts, ..server.invite() }, &device(), "laptop", &options).await.unwrap();
    assert_eq!(joined.hosts, ["127.0.0.1", "vpn.example.org"]);
}

#[tokio::test]
async fn what_comes_out_of_the_tunnel_and_is_no_answer_is_passed_over() {
    let server = Server::start(Web::No, |request| Some(admit(request))).await;
    server.noise.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(server.join(&server.invite()).await.unwrap().name, "laptop");
}

#[test]
fn names_are_cut_to_what_fits() {
    assert_eq!(cut("a\nb\u{202e}c", 10), "abc");
    assert_eq!(cut(&"ä".repeat(40), MAX_NAME), "ä".repeat(32));
    assert_eq!(cut("aä", 2), "a");
}

/// Whether the server is a web site too.
#[derive(PartialEq)]
enum Web {
    Yes,
    No,
}

/// A server, and what it was asked.
struct Server {
    tunnel: Tunnel,
    udp_port: u16,
    https: Option<HttpsOffer>,
    asked: Arc<Mutex<Vec<Request>>>,
    /// Send other packets before each answer.
    noise: Arc<std::sync::atomic::AtomicBool>,
    directory: PathBuf,
}

impl Server {
    async fn start(web: Web, answer: impl FnMut(&Request) -> Option<Reply> + Send + 'static) -> Self {
        let key = PrivateKey::new([1; 32]);
        let invite = invite();
        let directory =
            std::env::temp_dir().join(format!("adit-join-{}-{:?}", std::process::id(), std::thread::current().id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("index.html"), "<html><body>Hello</body></html>").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let web_site = (web == Web::Yes).then(|| WebSite {
            listen: vec![Listen::At((Ipv4Addr::LOCALHOST, port).into())],
            site: SiteSource::Directory(directory.clone()),
            front: WebFront::SelfSigned(vec!["site.example".to_owned()]),
            shape: Shape::default(),
        });
        let peer = Peer {
            allowed_ips: vec![IpAddr::from(invite.address()).into()],
            https_key: invite.https_key(),
            ..Peer::new(invite.public_key())
        };
        let interface = Interface { private_key: Some(key), ..Interface::default() };
        let profile = Profile { interface, peers: vec![peer], web_site };
        let surroundings = Surroundings { state: directory.join("state"), ..Surroundings::default() };
        let (carriers, outside) = Carriers::open(&profile, UdpOptions::default(), surroundings).await.unwrap();
        let udp_port = outside.listen_port().unwrap();
        let (inside, app) = packet_pair(MTU, QUEUE);
        let options = crate::Options { outside, ..crate::Options::default() };
        let tunnel = Tunnel::start_profile(&profile, inside, carriers, options).await.unwrap();
        let status = tunnel.status().await.unwrap();
        let https = status.web_site.map(|site| HttpsOffer {
            name: "site.example".to_owned(),
            port,
            pin: Some(site.pin.unwrap().parse().unwrap()),
        });
        let (asked, noise) = (Arc::default(), Arc::default());
        tokio::spawn(answers(app, Arc::clone(&asked), Arc::clone(&noise), answer));
        Self { tunnel, udp_port, https, asked, noise, directory }
    }

    fn invite(&self) -> Invite {
        Invite { udp_port: Some(self.udp_port), https: self.https.clone(), ..invite() }
    }

    /// Where an answer is expected.
    async fn join(&self, invite: &Invite) -> Result<Membership, JoinError> {
        redeem(invite, &device(), "laptop", &options()).await
    }

    /// Where none is, because the server is not reached.
    async fn join_in_vain(&self, invite: &Invite) -> JoinError {
        let options = Options { limit: Duration::from_millis(700), ..options() };
        redeem(invite, &device(), "laptop", &options).await.unwrap_err()
    }

    /// Where none is, though the server is reached: a busy machine takes its time for that.
    async fn join_until_reached(&self) -> JoinError {
        for seconds in [1, 5, 20] {
            let options = Options { limit: Duration::from_secs(seconds), ..options() };
            let error = redeem(&self.invite(), &device(), "laptop", &options).await.unwrap_err();
            if !matches!(error, JoinError::Silent(_)) {
                return error;
            }
        }
        panic!("it is never reached");
    }

    fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.directory).unwrap();
        // The last handle: the tunnel stops with it.
        let _last = &self.tunnel;
    }
}

/// Answers what comes out of the tunnel until it ends.
async fn answers(
    mut app: PacketChannel,
    asked: Arc<Mutex<Vec<Request>>>,
    noise: Arc<std::sync::atomic::AtomicBool>,
    mut answer: impl FnMut(&Request) -> Option<Reply>,
) {
    while let Some(packet) = app.recv().await {
        let question = Datagram::parse(&packet).unwrap();
        assert_eq!(question.from.0, invite().address());
        assert_eq!(question.to, (invite().server_address(), enrol::PORT));
        let request = Request::parse(question.payload).unwrap();
        let reply = answer(&request);
        asked.lock().unwrap().push(request);
        let Some(payload) = reply.and_then(|reply| reply.emit()) else { continue };
        let (from, to) = (question.to, question.from);
        if noise.load(std::sync::atomic::Ordering::Relaxed) {
            let elsewhere = Datagram { from, to: (to.0, to.1 ^ 1), payload: &payload }.emit();
            let from_elsewhere = Datagram { from: (from.0, 53), to, payload: &payload }.emit();
            let junk = Datagram { from, to, payload: b"{\"adit\":1" }.emit();
            for packet in [elsewhere, from_elsewhere, junk] {
                app.send(packet).await.unwrap();
            }
        }
        app.send(Datagram { from, to, payload: &payload }.emit()).await.unwrap();
    }
}

fn options() -> Options {
    Options { limit: Duration::from_secs(30), system: "a test".to_owned(), hello: Some(Hello::Plain), fwmark: 0 }
}

fn device() -> PrivateKey {
    PrivateKey::new([2; 32])
}

fn server_key() -> PublicKey {
    PrivateKey::new([1; 32]).public_key()
}

fn invite() -> Invite {
    Invite {
        network: "home".to_owned(),
        secret: Secret::new([5; 16]),
        expires: 4_000_000_000,
        server: server_key(),
        prefix: [0xfd, 1, 2, 3, 4, 5, 6, 7],
        hosts: vec!["127.0.0.1".to_owned()],
        udp_port: Some(1),
        https: None,
    }
}

fn admit(request: &Request) -> Reply {
    Reply::Admitted(Membership {
        network: "home".to_owned(),
        name: request.name.clone(),
        addresses: vec!["10.77.0.2/24".parse().unwrap()],
        server: server_key(),
        hosts: vec!["vpn.example.org".to_owned(), "127.0.0.1".to_owned()],
        udp_port: Some(51820),
        https: None,
        dns: vec![],
        routes: vec![],
    })
}
