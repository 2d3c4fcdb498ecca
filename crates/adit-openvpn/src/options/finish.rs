//! What holds between lines, each of which may be right alone: what is missing, what excludes each other, what is unsafe.
//!
//! Not here: single lines (their areas).

use super::config::{ClientConfig, Common, Config, Listen, ServerConfig};
use super::connection::{ConnectionDraft, ControlWrap, DEFAULT_PORT, Remote, Transport};
use super::draft::{Device, Draft};
use super::finding::Finding;
use super::hooks::Moment;
use super::inside::Topology;
use super::server::ClientCert;

/// What comes of all lines: a configuration, unless something keeps it from being one.
pub(super) fn client(draft: Draft, findings: &mut Vec<Finding>) -> Option<Config> {
    let mut whole = Whole { findings };
    whole.identity(&draft, true);
    whole.tls(&draft);
    let remotes = whole.remotes(&draft);
    let pull = draft.pulling.pull;
    if !pull && draft.inside.ifconfig.is_none() && draft.inside.ifconfig6.is_none() && draft.device != Device::None {
        whole.doubt(
            "without `pull` the server is not asked for addresses, and the file has none",
            "write `client` in place of `tls-client`",
        );
    }
    if whole.is_hopeless() {
        return None;
    }
    let config = ClientConfig {
        remotes,
        attempts: draft.attempts.clone(),
        pulling: draft.pulling.clone(),
        login: draft.login.clone(),
        push_peer_info: draft.push_peer_info,
        common: common(draft),
    };
    Some(Config::Client(Box::new(config)))
}

/// The same for a server.
pub(super) fn server(mut draft: Draft, findings: &mut Vec<Finding>) -> Option<Config> {
    let mut whole = Whole { findings };
    whole.identity(&draft, false);
    whole.tls(&draft);
    whole.serving(&draft);
    let (wrap, second_wrap) = whole.server_wraps(&draft.connection);
    if whole.is_hopeless() {
        return None;
    }
    let (transport, family) = draft.connection.proto();
    let listen = Listen {
        address: draft.connection.local.clone(),
        port: draft.connection.local_port.unwrap_or(DEFAULT_PORT),
        transport,
        family,
        sizes: draft.connection.sizes,
        exit_notify: draft.connection.exit_notify.filter(|_| transport == Transport::Udp),
    };
    let server = std::mem::take(&mut draft.server);
    Some(Config::Server(Box::new(ServerConfig { common: common(draft), listen, wrap, second_wrap, server })))
}

fn common(draft: Draft) -> Common {
    let mut data = draft.data;
    (data.ciphers, data.fallback) = draft.cipher.settle();
    Common {
        base: draft.base,
        device: draft.device,
        hands_off: draft.hands_off,
        identity: draft.identity,
        peer: draft.peer,
        tls: draft.tls,
        rekeying: draft.rekeying,
        data,
        inside: draft.inside,
        dns: draft.dns,
        life: draft.life,
        socket: draft.socket,
        hooks: draft.hooks,
    }
}

/// The file as a whole.
struct Whole<'a> {
    findings: &'a mut Vec<Finding>,
}

impl Whole<'_> {
    fn refuse(&mut self, why: &str, instead: &str) {
        self.findings.push(Finding::whole_file_refused(why, instead));
    }

    fn doubt(&mut self, why: &str, instead: &str) {
        self.findings.push(Finding::whole_file_doubtful(why, instead));
    }

    fn is_hopeless(&self) -> bool {
        self.findings.iter().any(Finding::is_refused)
    }

    /// Which versions of TLS are left.
    fn tls(&mut self, draft: &Draft) {
        if let (Some(least), Some(most)) = (draft.tls.least, draft.tls.most)
            && least > most
        {
            self.refuse(
                "`tls-version-min` is newer than `tls-version-max`: no version of TLS is left",
                "remove `tls-version-max`, unless the other end has nothing newer",
            );
        }
    }

    /// Who we are, and how the other end is known.
    fn identity(&mut self, draft: &Draft, is_client: bool) {
        let identity = &draft.identity;
        let bundle = identity.pkcs12.is_some();
        match (identity.cert.is_some(), identity.key.is_some()) {
            (true, false) => {
                self.refuse("there is a certificate (`cert`) and no key for it", "add `key FILE`, or a block <key>")
            }
            (false, true) => {
                self.refuse("there is a key (`key`) and no certificate for it", "add `cert FILE`, or a block <cert>")
            }
            (true, true) if bundle => {
                self.refuse("`pkcs12` and `cert` with `key` exclude each other", "keep one of them")
            }
            (true, true) | (false, false) => {}
        }
        let has_own = bundle || identity.cert.is_some();
        if identity.ca.is_none() && !bundle && draft.peer.fingerprints.is_empty() {
            self.refuse(
                "nothing says which certificates are good: there is neither `ca` nor `peer-fingerprint`",
                "add `ca FILE` or a block <ca>; it comes from whoever runs the network",
            );
        }
        if !is_client {
            if !has_own {
                self.refuse("a server needs a certificate of its own", "add `cert` and `key`, or `pkcs12`");
            }
            return;
        }
        if !has_own && draft.login.login.is_none() {
            self.refuse(
                "nothing says who this client is: there is neither a certificate (`cert` and `key`) nor `auth-user-pass`",
                "add what the network's administrator gave you",
            );
        }
        let peer = &draft.peer;
        let asked = peer.kind.is_some() || peer.name.is_some() || peer.extended_key_usage.is_some();
        if !asked && peer.fingerprints.is_empty() {
            self.doubt(
                "nothing says that the other end must be a server: every client of the same authority could pose as one",
                "add remote-cert-tls server",
            );
        }
    }

    fn wraps(&mut self, connection: &ConnectionDraft) {
        if let [first, second, ..] = connection.wraps().as_slice() {
            let why = format!("`{first}` and `{second}` exclude each other for a client");
            self.refuse(&why, "keep the one that the server has");
        }
    }

    fn remotes(&mut self, draft: &Draft) -> Vec<Remote> {
        let default = draft.connection.wrap();
        let pairs: Vec<_> = if draft.connections.is_empty() {
            draft.remotes.iter().map(|line| (&draft.connection, line)).collect()
        } else {
            draft.connections.iter().map(|(connection, line)| (connection, line)).collect()
        };
        if pairs.is_empty() {
            self.refuse("the file names no server", "add `remote HOST PORT`");
        }
        self.wraps(&draft.connection);
        let mut two_proxies = draft.connection.proxies.are_two();
        let mut datagrams = false;
        let mut remotes = Vec::new();
        for (connection, line) in pairs {
            two_proxies |= connection.proxies.are_two();
            datagrams |= connection.sends_datagrams_to_http(line);
            let mut remote = connection.complete(line);
            // What the file says of wrapping after its blocks holds for those that say nothing (measured: OpenVPN 2.6.14).
            if remote.wrap == ControlWrap::Plain {
                remote.wrap = default.clone();
            }
            remotes.push(remote);
        }
        if !draft.connections.is_empty() {
            draft.connections.iter().for_each(|(connection, _)| self.wraps(connection));
        }
        if two_proxies {
            self.refuse("`http-proxy` and `socks-proxy` exclude each other", "keep one of them");
        }
        if datagrams {
            self.refuse("an HTTP proxy carries no datagrams", "write proto tcp, or use socks-proxy");
        }
        remotes
    }

    fn serving(&mut self, draft: &Draft) {
        let server = &draft.server;
        let fixed = server.pool.is_some() || draft.inside.ifconfig.is_some();
        if server.network.is_none() && server.network6.is_none() && !fixed {
            self.refuse("nothing says which addresses clients get", "add server 10.8.0.0 255.255.255.0");
        }
        if server.network.is_some() && server.pool.is_some() {
            self.refuse("`server` has a pool already, and `ifconfig-pool` names another", "write `server … nopool`");
        }
        if server.client_dir_exclusive && server.client_dir.is_none() {
            self.refuse(
                "`ccd-exclusive` without `client-config-dir` would let nobody in",
                "add client-config-dir DIRECTORY",
            );
        }
        let checks_login =
            draft.hooks.run.iter().any(|hook| matches!(hook.moment, Moment::LoginByFile | Moment::LoginByEnvironment));
        if server.client_cert != ClientCert::Required && !checks_login {
            self.refuse(
                "clients need no certificate, and nothing checks their passwords: everybody could come in",
                "remove verify-client-cert, or add auth-user-pass-verify",
            );
        }
        if server.login_optional && !checks_login {
            self.doubt(
                "`auth-user-pass-optional` has no effect: nothing checks passwords",
                "add auth-user-pass-verify",
            );
        }
        if server.username_as_name && !checks_login {
            self.doubt(
                "`username-as-common-name` has no effect: nothing checks user names",
                "add auth-user-pass-verify",
            );
        }
        if draft.inside.topology.is_none_or(|topology| topology == Topology::Net30) && server.network.is_some() {
            self.doubt(
                "each client takes four addresses (`topology net30`, the default of OpenVPN 2.6)",
                "add topology subnet",
            );
        }
    }

    /// Clients with keys of their own may come beside clients that share one.
    fn server_wraps(&mut self, connection: &ConnectionDraft) -> (ControlWrap, Option<ControlWrap>) {
        let all = connection.wraps();
        if all.contains(&"tls-auth") && all.contains(&"tls-crypt") {
            self.refuse("`tls-auth` and `tls-crypt` exclude each other", "keep the one that the clients have");
        }
        let first = connection.wrap();
        if connection.tls_crypt_v2.is_none() || all.len() == 1 {
            return (first, None);
        }
        (first, Some(connection.wrap_of_all()))
    }
}
