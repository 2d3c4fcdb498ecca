//! Devices that join: each asks inside the tunnel of its invite, and is admitted or told why not.
//!
//! Not here: what is said (`adit::enrol`), deciding (`adit-control`).

use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use adit::enrol::{self, Refusal, Reply, Request};
use adit_control::{Actor, Command, HttpsKey, Name, Network, Outcome, Redeem, Refusal as Decided, ServiceError, Token};
use rustix::net::{AddressFamily, SocketType};
use tokio::net::UdpSocket;

use super::desk::{Desk, now};
use super::handout::membership;

/// How long after a failure the socket is made anew.
const AGAIN: Duration = Duration::from_secs(1);

/// Answers devices that join, for ever.
pub(super) async fn serve(desk: Arc<Desk>) {
    loop {
        let Some(address) = desk.model().network.as_ref().map(Network::server_v6) else { return };
        let error = match bind(address) {
            Ok(socket) => enrol::serve(socket, async |source, request| counted(&desk, source, request).await).await,
            Err(error) => error,
        };
        tracing::warn!("devices cannot join at the moment: {error}");
        tokio::time::sleep(AGAIN).await;
    }
}

/// At the server's address in the network, which may be there a moment later.
fn bind(address: Ipv6Addr) -> std::io::Result<UdpSocket> {
    let socket = rustix::net::socket(AddressFamily::INET6, SocketType::DGRAM, None)?;
    rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    rustix::net::sockopt::set_ipv6_freebind(&socket, true)?;
    rustix::net::bind(&socket, &SocketAddrV6::new(address, enrol::PORT, 0, 0))?;
    let socket = std::net::UdpSocket::from(socket);
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// Who has joined, and who was refused, is counted here.
async fn counted(desk: &Desk, source: Ipv6Addr, request: Request) -> Reply {
    let (reply, again) = answer(desk, source, request).await;
    match &reply {
        Reply::Refused(why) => desk.tally.refused(*why),
        // Who did not hear the answer asks again.
        Reply::Admitted(_) if again => {}
        Reply::Admitted(membership) => {
            desk.tally.admitted();
            tracing::info!("{} has joined", membership.name);
        }
    }
    reply
}

/// The answer, and whether it was given before.
async fn answer(desk: &Desk, source: Ipv6Addr, request: Request) -> (Reply, bool) {
    let wish = Some(request.name.as_str()).filter(|name| !name.is_empty());
    let redeem = Redeem {
        by: Token::Address(source),
        key: request.key,
        https_key: HttpsKey::new(*request.https_key.as_bytes()),
        wish: wish.map(Name::wished),
    };
    let actor = Actor::new(&format!("device {}", request.key), &format!("invite at {source}, {}", request.system));
    let outcome = desk.service.execute(Command::Redeem(redeem), actor, now()).await;
    match outcome {
        Ok(outcome) => {
            let model = desk.model();
            let (peer, again) = match outcome {
                Outcome::Redeemed { peer, again } => (model.peers.get(&peer), again),
                Outcome::Network | Outcome::Policy | Outcome::Peer(_) | Outcome::Invite(_) => (None, true),
            };
            let Some((peer, network)) = peer.zip(model.network.as_ref()) else {
                return (Reply::Refused(Refusal::Unable), again);
            };
            // Let in before it is told so: its first handshake is to be answered.
            desk.run_or_say(model.revision).await;
            (Reply::Admitted(membership(network, peer)), again)
        }
        Err(ServiceError::Refused(refusal)) => (Reply::Refused(why(&refusal)), false),
        Err(error) => {
            tracing::warn!("a device could not join: {error}");
            (Reply::Refused(Refusal::Unable), false)
        }
    }
}

fn why(refusal: &Decided) -> Refusal {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is not about who asks, and it may grow")]
    match refusal {
        Decided::InviteUsed { .. } => Refusal::Used,
        Decided::InviteExpired(_) => Refusal::Expired,
        Decided::InviteRevoked(_) => Refusal::Revoked,
        Decided::Full(_) | Decided::TooManyPeers => Refusal::Full,
        Decided::KeyInUse { .. } | Decided::EmptyKey => Refusal::Key,
        _ => Refusal::Other,
    }
}

#[cfg(test)]
mod tests {
    use adit::https::HttpsKey as LibHttpsKey;
    use adit::invite::Invite;
    use adit_wireguard::PrivateKey;

    use super::super::scene::{Daemon, desk};
    use super::*;

    #[tokio::test]
    async fn a_device_that_asks_again_has_joined_once_and_a_taken_name_gets_a_number() {
        let (desk, _reports, _directory) = desk(&Arc::new(Daemon::default())).await;
        // Nothing is waited for: whatever is decided runs.
        desk.ran(u64::MAX);
        let owner = Actor::new("owner", "here");
        for (number, called) in [(1, "Phone"), (2, "Phone-2")] {
            let made = desk.invite(&owner, Some("Phone"), 3600, 1, &[]).await.unwrap();
            assert_eq!(made.name.as_deref(), Some(called));
            let invite = Invite::from_link(made.link.expose()).unwrap();
            let source = desk.model().invites.values().find(|i| i.key == invite.public_key()).unwrap().address;
            for _ in 0..3 {
                let request = Request {
                    version: enrol::VERSION,
                    key: PrivateKey::new([10 + number; 32]).public_key(),
                    https_key: LibHttpsKey::of(&PrivateKey::new([10 + number; 32])).unwrap(),
                    name: "telephone".into(),
                    system: "test".into(),
                };
                assert!(matches!(counted(&desk, source, request).await, Reply::Admitted(of) if of.name == called));
            }
            assert_eq!(desk.tally.of_admitted(), u64::from(number));
        }
        assert_eq!(desk.invite(&owner, None, 3600, 1, &[]).await.unwrap().name, None);
    }
}
