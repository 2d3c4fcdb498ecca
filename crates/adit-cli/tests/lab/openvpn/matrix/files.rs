//! A row as two configuration files: each goes to adit or to Debian's `openvpn` as it is.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::axes::{
    Cipher, Digest, Framing, Inside, Login, Ours, Papers, Push, Renewal, Row, Tls, Topology, Transport, Wrap,
};
use super::papers::Office;
use crate::world::err;

/// The password of keys behind one.
const KEY_PASSWORD: &str = "open barley";

impl Row {
    /// What the data channel is to have.
    pub(super) const fn cipher_name(&self) -> &'static str {
        match self.cipher {
            Cipher::Aes128Gcm => "AES-128-GCM",
            Cipher::Aes192Gcm => "AES-192-GCM",
            Cipher::Aes256Gcm => "AES-256-GCM",
            Cipher::ChaCha20 | Cipher::ServersChoice => "CHACHA20-POLY1305",
            Cipher::Aes128Cbc => "AES-128-CBC",
            Cipher::Aes256Cbc => "AES-256-CBC",
        }
    }

    /// The server's address outside.
    pub(super) const fn server(&self) -> &'static str {
        if self.transport.is_v6() { "fd77::2" } else { "192.0.2.2" }
    }

    /// Whether the client shows a certificate.
    const fn shows_certificate(&self) -> bool {
        !matches!(self.login, Login::Password | Login::Challenge)
    }

    /// Lines that both files have.
    fn common(&self) -> String {
        let digest = match self.digest {
            Digest::Sha1 => "SHA1",
            Digest::Sha256 => "SHA256",
            Digest::Sha512 => "SHA512",
        };
        let tls = match self.tls {
            Tls::Any => "",
            Tls::Only12 => "tls-version-max 1.2\n",
            Tls::Only13 => "tls-version-min 1.3\n",
        };
        let framing = match self.framing {
            Framing::None | Framing::StubPushed => "",
            Framing::LzoNo => "comp-lzo no\n",
            Framing::StubV2 => "allow-compression asym\ncompress stub-v2\n",
            Framing::Fragment => "fragment 1300\nmssfix 1200\n",
            Framing::Mssfix => "mssfix 1200\n",
            Framing::Mtu1280 => "tun-mtu 1280\n",
            Framing::Mtu9000 => "tun-mtu 9000\n",
        };
        format!("dev-type tun\nverb 4\nauth {digest}\n{tls}{framing}")
    }

    /// The server's file. What it names is put beside it.
    pub(super) fn server_file(&self, dir: &Path, office: &Office) -> String {
        let proto = match self.transport {
            Transport::Udp4 => "udp4",
            Transport::Udp6 => "udp6",
            Transport::UdpBoth => "udp",
            Transport::Tcp4 => "tcp4-server",
            Transport::Tcp6 => "tcp6-server",
        };
        let topology = match self.topology {
            Topology::Subnet => "subnet",
            Topology::Net30 => "net30",
            Topology::PointToPoint => "p2p",
        };
        let inside = match self.inside {
            Inside::V4 => "",
            Inside::Dual => "server-ipv6 fd00:29::/64\n",
        };
        let choice = self.cipher == Cipher::ServersChoice;
        let ciphers = if choice { "CHACHA20-POLY1305:AES-256-GCM" } else { self.cipher_name() };
        let renewal = match (self.renewal, self.login) {
            (Renewal::Server | Renewal::BothEnds, _) => 3,
            // Whoever gives tokens has to renew keys some day.
            (Renewal::Client, Login::Token) => 3600,
            (Renewal::Client, Login::Certificate | Login::Password | Login::Both | Login::Challenge) => 0,
        };
        let goodbye = if self.transport.is_tcp() { "" } else { "explicit-exit-notify 1\n" };
        let push = match self.push {
            Push::Short | Push::NoPull => "push \"route 10.97.1.0 255.255.255.0\"\n".to_owned(),
            Push::Long | Push::Filtered => {
                // More than a message holds.
                let routes = (1..20).flat_map(|n| [97, 98].map(|net| (net, n)));
                routes.map(|(net, n)| format!("push \"route 10.{net}.{n}.0 255.255.255.0\"\n")).collect()
            }
        };
        let stub = match self.framing {
            Framing::StubPushed => "allow-compression asym\ncompress stub-v2\npush \"compress stub-v2\"\n",
            Framing::None
            | Framing::LzoNo
            | Framing::StubV2
            | Framing::Fragment
            | Framing::Mssfix
            | Framing::Mtu1280
            | Framing::Mtu9000 => "",
        };
        let login = match self.login {
            Login::Certificate => "",
            Login::Password | Login::Challenge => "verify-client-cert none\nusername-as-common-name\n",
            Login::Both => "",
            // Renewed in twice the time of a handshake at least.
            Login::Token => "auth-gen-token 600 200\n",
        };
        let checked = match self.login {
            Login::Certificate => String::new(),
            Login::Password | Login::Both | Login::Token | Login::Challenge => {
                let program = dir.join("who.sh");
                format!("script-security 2\nauth-user-pass-verify {} via-file\n", program.display())
            }
        };
        let papers = office.server(self.papers == Papers::Chain);
        for (name, text) in [("ca.crt", &papers.ca), ("server.crt", &papers.chain), ("server.key", &papers.key)] {
            fs::write(dir.join(name), text).unwrap();
        }
        let revoked = if self.papers == Papers::RevocationList {
            fs::write(dir.join("crl.pem"), office.revocation_list()).unwrap();
            "crl-verify crl.pem\n"
        } else {
            ""
        };
        let is_client = if self.shows_certificate() { "remote-cert-tls client\n" } else { "" };
        format!(
            "server 10.29.41.0 255.255.255.0\n{inside}topology {topology}\nproto {proto}\nport 1194\ndh none\nkeepalive 2 6\n\
             ca ca.crt\ncert server.crt\nkey server.key\n{is_client}{revoked}data-ciphers {ciphers}\nreneg-sec {renewal}\n\
             {goodbye}{push}{stub}{login}{checked}{}{}",
            self.common(),
            self.server_wrap(dir)
        )
    }

    fn server_wrap(&self, dir: &Path) -> String {
        let v2 = |word: &str| {
            let (server, client) = (dir.join("v2s.key"), dir.join("v2c.key"));
            let key = server.to_str().unwrap();
            run("openvpn", dir, &["--genkey", "tls-crypt-v2-server", key]);
            run("openvpn", dir, &["--tls-crypt-v2", key, "--genkey", "tls-crypt-v2-client", client.to_str().unwrap()]);
            format!("tls-crypt-v2 v2s.key{word}\n")
        };
        match self.wrap {
            Wrap::Plain => String::new(),
            Wrap::AuthDirected => "tls-auth tc.key 0\n".to_owned(),
            Wrap::Auth => "tls-auth tc.key\n".to_owned(),
            Wrap::Crypt => "tls-crypt tc.key\n".to_owned(),
            Wrap::CryptV2 => v2(""),
            Wrap::CryptV2Forced => v2(" force-cookie"),
            Wrap::CryptV2Lenient => v2(" allow-noncookie"),
        }
    }

    /// The client's file, with everything in it but the password of its key. `dir`: where its files are made; `server`: where
    /// the server's are.
    pub(super) fn client_file(&self, dir: &Path, server: &Path, office: &Office) -> String {
        let proto = match self.transport {
            Transport::Udp4 | Transport::UdpBoth => "udp4",
            Transport::Udp6 => "udp6",
            Transport::Tcp4 => "tcp4-client",
            Transport::Tcp6 => "tcp6-client",
        };
        let choice = self.cipher == Cipher::ServersChoice;
        let ciphers = if choice { "AES-256-GCM:CHACHA20-POLY1305" } else { self.cipher_name() };
        let renewal = if self.renewal == Renewal::Server { 0 } else { 3 };
        let goodbye = if self.transport.is_tcp() { "" } else { "explicit-exit-notify 2\n" };
        let push = match self.push {
            Push::Short | Push::Long => "",
            Push::Filtered => "pull-filter ignore \"route 10.98.\"\n",
            Push::NoPull => "route-nopull\n",
        };
        let login = match self.login {
            Login::Certificate => "",
            Login::Password | Login::Both | Login::Token => "<auth-user-pass>\nalice\nopen sesame\n</auth-user-pass>\n",
            Login::Challenge => "auth-user-pass\nstatic-challenge \"PIN?\" 1\n",
        };
        format!(
            "client\nnobind\nremote {} 1194 {proto}\nremote-cert-tls server\nconnect-retry 1 1\nserver-poll-timeout 8\ndata-ciphers {ciphers}\n\
             reneg-sec {renewal}\n{goodbye}{push}{login}{}{}{}",
            self.server(),
            self.common(),
            self.client_wrap(server),
            self.client_papers(dir, server, office)
        )
    }

    fn client_wrap(&self, server: &Path) -> String {
        let block = |option: &str, file: &str| {
            format!("<{option}>\n{}</{option}>\n", fs::read_to_string(server.join(file)).unwrap())
        };
        match self.wrap {
            Wrap::Plain => String::new(),
            Wrap::AuthDirected => format!("key-direction 1\n{}", block("tls-auth", "tc.key")),
            Wrap::Auth => block("tls-auth", "tc.key"),
            Wrap::Crypt => block("tls-crypt", "tc.key"),
            Wrap::CryptV2 | Wrap::CryptV2Forced | Wrap::CryptV2Lenient => block("tls-crypt-v2", "v2c.key"),
        }
    }

    fn client_papers(&self, dir: &Path, server: &Path, office: &Office) -> String {
        let papers = office.client(self.papers == Papers::Chain);
        for (name, text) in [("alice.ca", &papers.ca), ("alice.crt", &papers.chain), ("alice.key", &papers.key)] {
            fs::write(dir.join(name), text).unwrap();
        }
        fs::write(dir.join("alice.pass"), format!("{KEY_PASSWORD}\n")).unwrap();
        let password = format!("pass:{KEY_PASSWORD}");
        let authority = match self.papers {
            Papers::Fingerprint => format!("peer-fingerprint {}\n", Office::fingerprint(server)),
            Papers::Plain | Papers::Chain | Papers::LockedKey | Papers::Bundle => format!("<ca>\n{}</ca>\n", papers.ca),
            Papers::RevocationList => {
                format!("<ca>\n{}</ca>\n<crl-verify>\n{}</crl-verify>\n", papers.ca, office.revocation_list())
            }
        };
        if !self.shows_certificate() {
            return authority;
        }
        let own = match self.papers {
            Papers::Bundle => {
                let from = ["-in", "alice.crt", "-inkey", "alice.key"];
                let words = [&["pkcs12", "-export"][..], &from, &["-passout", &password, "-out", "alice.p12"]];
                run("openssl", dir, &words.concat());
                "pkcs12 alice.p12\naskpass alice.pass\n".to_owned()
            }
            Papers::LockedKey => {
                let words = ["pkcs8", "-topk8", "-in", "alice.key", "-passout", &password, "-out", "locked.key"];
                run("openssl", dir, &words);
                let locked = fs::read_to_string(dir.join("locked.key")).unwrap();
                format!("<cert>\n{}</cert>\n<key>\n{locked}</key>\naskpass alice.pass\n", papers.chain)
            }
            Papers::Plain | Papers::Chain | Papers::Fingerprint | Papers::RevocationList => {
                format!("<cert>\n{}</cert>\n<key>\n{}</key>\n", papers.chain, papers.key)
            }
        };
        authority + &own
    }

    /// Whether this end is adit.
    pub(super) const fn client_is_ours(&self) -> bool {
        matches!(self.ours, Ours::Client | Ours::Both)
    }

    /// The same of the server.
    pub(super) const fn server_is_ours(&self) -> bool {
        matches!(self.ours, Ours::Server | Ours::Both)
    }
}

fn run(program: &str, dir: &Path, words: &[&str]) {
    let made = Command::new(program).args(words).current_dir(dir).output().unwrap();
    assert!(made.status.success(), "{program} {words:?}: {}", err(&made));
}
