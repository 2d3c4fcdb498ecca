//! A profile as text, in the order of its values.

use std::fmt::{Display, Write as _};

use zeroize::Zeroizing;

use adit_transport::config::{Hello, Roots};

use super::https::{order_text, shape_text};
use super::{Https, Interface, Peer, Profile, Shape, SiteSource, Table, WebFront, WebSite};

pub(super) fn emit(profile: &Profile) -> Zeroizing<String> {
    let mut out = Out(Zeroizing::new(String::with_capacity(CAPACITY_INTERFACE + CAPACITY_PEER * profile.peers.len())));
    interface(&mut out, &profile.interface);
    if let Some(site) = &profile.web_site {
        web_site(&mut out, site);
    }
    for one in &profile.peers {
        peer(&mut out, one);
    }
    out.0
}

fn interface(out: &mut Out, i: &Interface) {
    out.text("[Interface]\n");
    if let Some(key) = &i.private_key {
        out.line("PrivateKey", &*Zeroizing::new(key.to_base64()));
    }
    out.list("Address", i.addresses.iter().map(ToString::to_string));
    out.list("DNS", i.dns.iter().map(ToString::to_string).chain(i.dns_search.iter().cloned()));
    out.optional("ListenPort", i.listen_port);
    match i.fwmark {
        None => {}
        Some(0) => out.line("FwMark", "off"),
        Some(mark) => out.line("FwMark", format_args!("{mark:#x}")),
    }
    out.optional("MTU", i.mtu);
    if i.table != Table::Auto {
        out.line("Table", &i.table);
    }
    let hooks = [("PreUp", &i.pre_up), ("PostUp", &i.post_up), ("PreDown", &i.pre_down), ("PostDown", &i.post_down)];
    for (name, commands) in hooks {
        for command in commands {
            out.line(name, command);
        }
    }
    if i.save_config {
        out.line("SaveConfig", "true");
    }
}

fn peer(out: &mut Out, p: &Peer) {
    out.text("\n[Peer]\n");
    out.line("PublicKey", p.public_key);
    if let Some(key) = &p.preshared_key {
        out.line("PresharedKey", &*Zeroizing::new(key.to_base64()));
    }
    out.list("AllowedIPs", p.allowed_ips.iter().map(ToString::to_string));
    out.optional("Endpoint", p.endpoint.as_ref());
    out.list("Fallback", p.fallback.iter().map(ToString::to_string));
    match p.persistent_keepalive {
        None => {}
        Some(0) => out.line("PersistentKeepalive", "off"),
        Some(seconds) => out.line("PersistentKeepalive", seconds),
    }
    out.optional("Transport", p.transport.map(order_text));
    if let Some(h) = &p.https {
        https(out, h);
    }
    out.optional("HttpsKey", p.https_key);
}

fn https(out: &mut Out, h: &Https) {
    out.line("HttpsUrl", &h.url);
    out.list("HttpsAddress", h.addresses.iter().map(ToString::to_string));
    for pin in &h.pins {
        out.line("HttpsPin", pin);
    }
    let roots = h.roots.map(|roots| match roots {
        Roots::System => "system",
        Roots::PinOnly => "pin",
    });
    out.optional("HttpsRoots", roots);
    let hello = h.hello.map(|hello| match hello {
        Hello::Browser => "browser",
        Hello::Plain => "plain",
    });
    out.optional("HttpsHello", hello);
    out.optional("HttpsPath", h.path.as_ref());
    shape(out, "HttpsShape", "HttpsMachine", &h.shape);
}

fn web_site(out: &mut Out, w: &WebSite) {
    out.text("\n[Https]\n");
    out.list("Listen", w.listen.iter().map(ToString::to_string));
    out.line("Site", &w.site);
    if let SiteSource::Proxy { root, .. } = &w.site {
        out.optional("SiteRoot", root.as_ref().map(|path| path.display()));
    }
    match &w.front {
        WebFront::Files { chain, key } => {
            out.line("Certificate", chain.display());
            out.line("CertificateKey", key.display());
        }
        WebFront::Acme { domains, directory, contact, root } => {
            out.list("Acme", domains.iter().cloned());
            out.optional("AcmeDirectory", directory.as_ref());
            out.optional("AcmeContact", contact.as_ref());
            out.optional("AcmeRoot", root.as_ref().map(|path| path.display()));
        }
        WebFront::SelfSigned(names) => out.list("SelfSigned", names.iter().cloned()),
        WebFront::Behind => out.line("Behind", "true"),
    }
    shape(out, "Shape", "Machine", &w.shape);
}

fn shape(out: &mut Out, level: &str, machine: &str, s: &Shape) {
    out.optional(level, s.level.map(shape_text));
    for one in &s.machines {
        out.line(machine, one);
    }
}

/// Text that grows, and is wiped.
struct Out(Zeroizing<String>);

impl Out {
    fn text(&mut self, text: &str) {
        self.0.push_str(text);
    }

    fn line(&mut self, key: &str, value: impl Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{key} = {value}");
    }

    fn optional(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.line(key, value);
        }
    }

    /// Values in rows, so that no line becomes longer than a person or a program likes.
    fn list(&mut self, key: &str, values: impl Iterator<Item = String>) {
        let values: Vec<String> = values.collect();
        for row in values.chunks(VALUES_A_LINE) {
            self.line(key, row.join(", "));
        }
    }
}

/// How many values stand on one line.
const VALUES_A_LINE: usize = 32;
/// Room for the first section, so that secrets are not left behind by growing.
const CAPACITY_INTERFACE: usize = 4096;
/// Room for a usual peer.
const CAPACITY_PEER: usize = 256;
