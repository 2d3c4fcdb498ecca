//! What clients' control messages mean for a server, and what it tells them.

use adit_protocol::Now;

use super::event::{Answer, AuthRequest, ClientId, ClientSettings, Password, ServerEvent};
use super::peer::{Can, Identity, Phase};
use super::{Server, ServerConfig};
use crate::constants::{LEAVE_AFTER, MAX_EVENTS, PUSH_PIECE};
use crate::data::Agreed;
use crate::update::Update;
use crate::{Revoked, Role};

/// What a client reads whose ciphers are not ours.
const NO_CIPHER: &str = "Data channel cipher negotiation failed (no shared cipher)";
/// What a client reads whose certificate is not good any more.
const WITHDRAWN: &str = "the certificate was revoked";
/// What a client reads for whom there is no room, and what older ones are told, which would not come again after that.
const FULL: (&str, &str) = ("AUTH_FAILED,TEMP:the server is full", "RESTART");

impl Server {
    /// Goes on with a session as far as what has arrived allows.
    pub(super) fn advance(&mut self, now: Now, number: u32) {
        self.touch(number);
        let Some(peer) = self.peers.get_mut(number as usize).and_then(Option::as_deref_mut) else { return };
        let was = peer.session.newest.is_complete();
        peer.session.advance(&self.ground, now);
        if let Some(end) = peer.session.end() {
            // An alert tells the client why.
            let (path, why) = (peer.path, end.to_string());
            while let Some(datagram) = peer.session.poll_transmit(now.instant) {
                self.answers.push_back((path, datagram));
            }
            return self.remove(number, why);
        }
        if matches!(peer.phase, Phase::Leaving(_)) {
            return;
        }
        let complete = !was && peer.session.newest.is_complete();
        if complete {
            self.ask(now, number);
        }
        while let Some(message) = self.peer(number).and_then(|peer| peer.session.next_message()) {
            self.handle_message(now, number, &message);
        }
    }

    /// Both key messages are there: the owner decides.
    fn ask(&mut self, now: Now, number: u32) {
        let client = self.id(number);
        // The list may have changed while the certificate was shown and not yet proven: nothing had it to look for then.
        let shown = self.peers.get(number as usize).and_then(Option::as_deref);
        if shown.is_some_and(|peer| peer.session.is_revoked(&self.ground)) {
            return self.dismiss(now, number, &format!("AUTH_FAILED,{WITHDRAWN}"));
        }
        let Some(peer) = self.peer(number) else { return };
        let tls = peer.session.newest.tls();
        let (common_name, certificate) = (tls.peer_name(), tls.peer_fingerprint());
        let Some(message) = peer.session.newest.peer.as_mut() else { return };
        let identity = Identity { common_name, certificate, username: message.username.clone() };
        let said = message.cipher();
        let request = AuthRequest {
            client,
            from: peer.path,
            common_name: identity.common_name.clone(),
            certificate,
            username: identity.username.clone(),
            password: Password(std::mem::take(&mut message.password)),
            peer_info: message.peer_info.clone(),
            metadata: peer.own_key.as_ref().map(|(_, metadata)| metadata.clone()),
            key_name: peer.own_key.as_ref().map(|(name, _)| *name),
            renewal: peer.phase == Phase::Up,
        };
        if peer.phase == Phase::Up {
            if peer.identity != identity {
                return self.dismiss(now, number, "AUTH_FAILED,the user changed");
            }
        } else {
            peer.can = Can::parse(&request.peer_info, said);
            peer.identity = identity;
            peer.phase = Phase::Asked { wants_settings: peer.can.wants_push() };
        }
        self.events.push_back(ServerEvent::Ask(Box::new(request)));
    }

    fn handle_message(&mut self, now: Now, number: u32, message: &str) {
        let client = self.id(number);
        let Some(peer) = self.peer(number) else { return };
        match (message, peer.phase) {
            ("PUSH_REQUEST", Phase::Asked { .. }) => peer.phase = Phase::Asked { wants_settings: true },
            ("PUSH_REQUEST", Phase::Accepted) => self.push(now, number),
            ("PUSH_REQUEST", Phase::Exchanging | Phase::Up | Phase::Leaving(_)) => {}
            ("EXIT", _) => self.remove(number, "it said goodbye".to_owned()),
            (_, Phase::Up | Phase::Asked { .. } | Phase::Accepted) => {
                if self.events.len() < MAX_EVENTS {
                    self.events.push_back(ServerEvent::Said(client, zeroize::Zeroizing::new(message.to_owned())));
                }
            }
            (_, Phase::Exchanging | Phase::Leaving(_)) => {}
        }
    }

    /// The owner has decided.
    pub(super) fn answer(&mut self, now: Now, client: ClientId, answer: Answer) {
        let times = self.ground.times;
        let is_full = self.let_in() >= self.config.max_clients;
        let Some(peer) = self.named(client) else { return };
        match (answer, peer.phase) {
            (Answer::Refuse(why), _) => {
                let message = if why.is_empty() { "AUTH_FAILED".to_owned() } else { format!("AUTH_FAILED,{why}") };
                self.dismiss(now, client.number, &message);
            }
            (Answer::Accept(_), Phase::Asked { .. }) if is_full => {
                let told = if peer.can.come_again() { FULL.0 } else { FULL.1 };
                self.dismiss(now, client.number, told);
            }
            (Answer::Accept(settings), Phase::Asked { wants_settings }) => {
                peer.settings = *settings;
                peer.phase = Phase::Accepted;
                self.budget.give_back();
                if wants_settings {
                    self.push(now, client.number);
                }
            }
            (Answer::Accept(_), Phase::Up) => {
                if peer.session.renew(Role::Server, now.instant) {
                    self.events.push_back(ServerEvent::Renewed(client));
                }
            }
            (Answer::Pending(longest), Phase::Asked { .. } | Phase::Up) => {
                peer.session.wait(&times, longest, now.instant);
                let seconds = longest.as_secs();
                let message =
                    if peer.can.wait() { format!("AUTH_PENDING,timeout {seconds}") } else { "AUTH_PENDING".to_owned() };
                peer.session.send(&message);
            }
            (Answer::Accept(_) | Answer::Pending(_), Phase::Exchanging | Phase::Accepted | Phase::Leaving(_)) => {}
        }
        self.touch(client.number);
    }

    /// Says why, and lets go a little later, so that it is heard. Packets flow no more at once.
    pub(super) fn dismiss(&mut self, now: Now, number: u32, message: &str) {
        let Some(peer) = self.peer(number) else { return };
        if matches!(peer.phase, Phase::Leaving(_)) {
            return;
        }
        peer.session.send(message);
        peer.phase = Phase::Leaving(now.instant + LEAVE_AFTER);
        self.routes.retain(|_, owner| *owner != number);
        self.touch(number);
    }

    /// These certificates are withdrawn: whoever is in, or on the way, with one of them goes.
    pub(super) fn revoke(&mut self, now: Now, revoked: Revoked) {
        self.ground.tls.set_time(now.unix);
        self.ground.tls.revoke(revoked);
        for number in 0..self.peers.len() as u32 {
            let peer = self.peers.get(number as usize).and_then(Option::as_deref);
            let Some(phase) = peer.filter(|peer| peer.session.is_revoked(&self.ground)).map(|peer| peer.phase) else {
                continue;
            };
            match phase {
                Phase::Exchanging => self.remove(number, WITHDRAWN.to_owned()),
                Phase::Asked { .. } | Phase::Accepted | Phase::Up => {
                    self.dismiss(now, number, &format!("AUTH_FAILED,{WITHDRAWN}"));
                }
                Phase::Leaving(_) => {}
            }
        }
    }

    /// Changes settings of a client that can.
    pub(super) fn update(&mut self, client: ClientId, updates: &[Update]) {
        let Some(peer) = self.named(client).filter(|peer| peer.phase == Phase::Up && peer.can.updates()) else {
            return;
        };
        let options: Vec<_> = updates.iter().filter_map(Update::emit).collect();
        if !options.is_empty() {
            pieces("PUSH_UPDATE", &options).iter().for_each(|piece| peer.session.send(piece));
            self.touch(client.number);
        }
    }

    /// Gives a client its settings; from now on packets flow.
    fn push(&mut self, now: Now, number: u32) {
        let client = self.id(number);
        let Some(peer) = self.peers.get_mut(number as usize).and_then(Option::as_deref_mut) else { return };
        let Some(cipher) = peer.can.cipher(&self.config.ciphers, self.config.fallback_cipher) else {
            return self.dismiss(now, number, &format!("AUTH_FAILED,{NO_CIPHER}"));
        };
        let peer_id = peer.can.long_header().then_some(number);
        let (exported, dynamic) = (peer.can.exported_keys(), peer.can.dynamic_envelope());
        let epochs = exported && peer.can.epoch_keys() && cipher.is_aead() && peer_id.is_some();
        let ServerConfig { digest, framing, fragment, mssfix, stream, .. } = self.config;
        let segments = mssfix.on(peer.path, stream);
        let agreed = Agreed { cipher, digest, peer_id, framing, epochs, fragment, segments };
        let mut options =
            reply(&peer.settings, &agreed, self.config.keepalive.map(|(a, b)| (a.as_secs(), b.as_secs())));
        let exit = peer.can.control_exit();
        let flags = [("cc-exit", exit), ("tls-ekm", exported), ("dyn-tls-crypt", dynamic), ("aead-epoch", epochs)];
        let flags: Vec<_> = flags.iter().filter(|(_, can)| *can).map(|(flag, _)| *flag).collect();
        if !flags.is_empty() {
            options.push(format!("protocol-flags {}", flags.join(" ")));
        }
        options.push(format!("tun-mtu {}", self.config.mtu));
        for piece in pieces("PUSH_REPLY", &options) {
            peer.session.send(&piece);
        }
        peer.session.agree(Role::Server, agreed, exported, now.instant);
        if dynamic {
            peer.session.use_dynamic(Role::Server, peer.static_key.as_ref(), now.unix);
        }
        peer.phase = Phase::Up;
        let remote = peer.path.remote;
        let networks = networks(&peer.settings);
        self.addresses.insert(remote, number);
        for network in networks {
            self.routes.insert(network, number);
        }
        self.events.push_back(ServerEvent::Joined(client));
        self.touch(number);
    }
}

/// Everything inside that is a client's.
fn networks(settings: &ClientSettings) -> Vec<ipnet::IpNet> {
    let address4 = settings.address4.map(|(address, _)| std::net::IpAddr::from(address).into());
    let address6 = settings.address6.map(|(address, _)| std::net::IpAddr::from(address).into());
    settings.networks.iter().copied().chain(address4).chain(address6).collect()
}

/// The options of a reply, the flags not among them.
fn reply(settings: &ClientSettings, agreed: &Agreed, keepalive: Option<(u64, u64)>) -> Vec<String> {
    // A comma would begin another option.
    let mut options: Vec<_> = settings.options.iter().filter(|option| !option.contains(',')).cloned().collect();
    if let Some((ping, restart)) = keepalive {
        options.extend([format!("ping {ping}"), format!("ping-restart {restart}")]);
    }
    if let Some((address, other)) = settings.address4 {
        options.push(format!("ifconfig {address} {other}"));
    }
    if let Some((address, prefix)) = settings.address6 {
        options.push(format!("ifconfig-ipv6 {address}/{prefix} ::"));
    }
    options.extend(agreed.peer_id.map(|number| format!("peer-id {number}")));
    options.push(format!("cipher {}", agreed.cipher));
    options
}

/// Replies of at most [`PUSH_PIECE`] bytes or one option, all but the last saying that more follows.
fn pieces(name: &str, options: &[String]) -> Vec<String> {
    let mut pieces = vec![name.to_owned()];
    for option in options {
        if pieces.last().is_some_and(|piece| piece.len() + option.len() > PUSH_PIECE) {
            pieces.push(name.to_owned());
        }
        if let Some(piece) = pieces.last_mut() {
            piece.push(',');
            piece.push_str(option);
        }
    }
    let count = pieces.len();
    if count > 1 {
        for (at, piece) in (1..).zip(&mut pieces) {
            piece.push_str(if at < count { ",push-continuation 2" } else { ",push-continuation 1" });
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::push::Pieces;

    #[test]
    fn long_replies_come_in_pieces_that_clients_put_together() {
        let options: Vec<_> = (0..200).map(|n| format!("route 10.{n}.0.0 255.255.0.0")).collect();
        let pieces = pieces("PUSH_REPLY", &options);
        assert!(pieces.len() > 4 && pieces.iter().all(|piece| piece.len() <= 1024), "{}", pieces.len());
        let mut together = Pieces::default();
        let (last, first) = pieces.split_last().unwrap();
        for piece in first {
            assert_eq!(together.push(piece.strip_prefix("PUSH_REPLY").unwrap()), None);
        }
        let whole = together.push(last.strip_prefix("PUSH_REPLY").unwrap()).unwrap();
        assert!(whole.iter().map(|option| option.as_str()).eq(options));
    }

    #[test]
    fn a_short_reply_is_one_piece() {
        assert_eq!(pieces("PUSH_REPLY", &["a 1".into(), "b".into()]), ["PUSH_REPLY,a 1,b"]);
    }
}
