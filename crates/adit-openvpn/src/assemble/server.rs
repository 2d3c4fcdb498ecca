//! A server as its configuration describes it: every setting in the terms of the core, or why this build cannot keep to it.
//!
//! Not here: what clients are given, and who may come in (whoever answers the core's questions); sockets and interfaces.

use super::keys::decoded;
use super::{LATER, Unusable, direction, not_spoken, of_both, shared_key, states_that_it_is, text, times, tls};
use crate::data::MssFix;
use crate::key_file::ServerKey;
use crate::options::{self, ClientCert, Family, Moment, OnSilence, PeerKind, Transport};
use crate::server::{ServerConfig, ServerWrap, SharedWrap};
use crate::{Role, options::ControlWrap};

/// Answers to first packets as the core has them (`connect-freq-initial`).
const INITIAL_RATE: (u32, std::time::Duration) = (100, std::time::Duration::from_secs(10));

/// The settings of a server.
///
/// # Errors
/// The first thing that this build cannot keep to.
pub fn server(config: &options::ServerConfig) -> Result<ServerConfig, Unusable> {
    let options::ServerConfig { common, listen, server, .. } = config;
    server_spoken(config)?;
    token_secret(server)?;
    let defaults = ServerConfig::default();
    let mtu = listen.sizes.tun_mtu.unwrap_or(defaults.mtu);
    let fragment = listen.sizes.fragment;
    let mut tls = tls(common, Role::Server)?;
    tls.peer.may_be_absent = server.client_cert != ClientCert::Required;
    Ok(ServerConfig {
        wrap: wrap(config)?,
        tls,
        ciphers: common.data.ciphers.clone(),
        fallback_cipher: common.data.fallback,
        digest: common.data.digest,
        framing: common.data.framing.into(),
        fragment,
        mssfix: listen.sizes.mssfix.unwrap_or_else(|| MssFix::unsaid(mtu, fragment)),
        mtu,
        stream: listen.transport == Transport::Tcp,
        only_v4: listen.family == Family::V4,
        times: times(common, None),
        // A file says how long the server waits, and the core how long its clients do: half as long.
        keepalive: common.life.ping.zip(common.life.silence).map(|(ping, (silence, _))| (ping, silence / 2)),
        max_key_age: server.key_max_age,
        allow_noncookie: !server.force_cookie,
        client_to_client: server.client_to_client,
        max_clients: server.max_clients as usize,
        ..defaults
    })
}

/// What tokens are made with must be a key: of another text, such as a certificate, others have copies, and could make tokens.
fn token_secret(server: &options::ServerOptions) -> Result<(), Unusable> {
    const OPTION: &str = "auth-gen-token-secret";
    /// Bytes that are too many to be guessed.
    const LEAST: usize = 32;
    let Some(material) = &server.token_secret else { return Ok(()) };
    let body = text(OPTION, material)?
        .split_once("-----BEGIN OpenVPN auth-token server key-----")
        .and_then(|(_, rest)| rest.split_once("-----END OpenVPN auth-token server key-----"));
    match body.and_then(|(body, _)| decoded(body)) {
        Some(key) if key.len() >= LEAST => Ok(()),
        Some(_) | None => Err(Unusable::Damaged {
            option: OPTION,
            why: "there is no key for tokens in it".to_owned(),
            hint: "`openvpn --genkey auth-token FILE` makes one; without the line adit makes its own, anew at each start",
        }),
    }
}

/// Whether this build can do all that a server's configuration asks for. No key is opened for it.
///
/// # Errors
/// The first thing that it cannot ([`Unusable::NotSpoken`]).
pub fn server_spoken(config: &options::ServerConfig) -> Result<(), Unusable> {
    let options::ServerConfig { common, listen, server, .. } = config;
    of_both(common)?;
    let (peer, life) = (&common.peer, &common.life);
    not_spoken(
        listen.transport == Transport::Tcp && listen.sizes.fragment.is_some(),
        "fragment",
        "over TCP nothing is cut, and clients do not expect it",
        "remove the line",
    )?;
    not_spoken(
        listen.address.is_some(),
        "local",
        LATER,
        "remove the line; a packet filter keeps the port from the other addresses",
    )?;
    not_spoken(
        peer.kind == Some(PeerKind::Server),
        "remote-cert-tls",
        "the other ends of a server are clients",
        "write `remote-cert-tls client`",
    )?;
    let states = states_that_it_is(Role::Client, peer);
    not_spoken(
        !(peer.key_usages.is_empty() || states),
        "remote-cert-ku",
        "key usages are compared together with the extended one only",
        "write `remote-cert-tls client`, which is stricter",
    )?;
    not_spoken(
        peer.extended_key_usage.is_some() && !states,
        "remote-cert-eku",
        "only the usage of clients is looked for",
        "write `remote-cert-tls client`",
    )?;
    not_spoken(
        life.ping.is_some() != life.silence.is_some() || matches!(life.silence, Some((_, OnSilence::Exit))),
        "ping",
        "a server says how often each end is heard of and how long it waits, or neither",
        "write `keepalive 10 60`",
    )?;
    for hook in &common.hooks.run {
        // User and password are checked before a client comes in, and no other program has a say in that.
        not_spoken(
            !matches!(hook.moment, Moment::LoginByFile | Moment::LoginByEnvironment),
            hook.moment.option(),
            "this build of adit runs no programs for OpenVPN's servers but `auth-user-pass-verify`",
            "remove the line; adit sets addresses and routes itself",
        )?;
    }
    not_spoken(common.inside.redirect.is_some(), "redirect-gateway", LATER, "push it: it is for clients")?;
    not_spoken(common.inside.block_ipv6, "block-ipv6", LATER, "push it: clients know it")?;
    not_spoken(life.idle.is_some(), "inactive", LATER, "remove the line, or push it: clients know it")?;
    not_spoken(life.session.is_some(), "session-timeout", LATER, "remove the line, or push it: clients know it")?;
    not_spoken(common.data.migrate, "compress", LATER, "remove the line: packets that come compressed are dropped")?;
    what_is_not_spoken_to_clients(server)
}

fn what_is_not_spoken_to_clients(server: &options::ServerOptions) -> Result<(), Unusable> {
    not_spoken(
        server.tokens.as_ref().is_some_and(|tokens| tokens.external),
        "auth-gen-token",
        "the program is not asked about tokens (`external-auth`)",
        "remove the word: adit checks its tokens itself",
    )?;
    not_spoken(
        server.connect_rate.is_some(),
        "connect-freq",
        "first packets are answered a hundred times in ten seconds, and a host has 64 sessions under way; neither is set",
        "remove the line",
    )?;
    not_spoken(
        server.initial_rate != INITIAL_RATE,
        "connect-freq-initial",
        "first packets are answered a hundred times in ten seconds, and this is not set",
        "remove the line",
    )?;
    not_spoken(
        !matches!(server.username_fields.as_slice(), [] | [_]) || server.username_fields.iter().any(|f| f != "CN"),
        "x509-username-field",
        "clients are known by the common name of their certificates",
        "remove the line",
    )?;
    not_spoken(
        server.compare_options,
        "opt-verify",
        "what clients say of their options is not compared",
        "remove the line",
    )
}

/// The envelopes: one with a key that all share, one whose key wraps those of clients, or both.
fn wrap(config: &options::ServerConfig) -> Result<ServerWrap, Unusable> {
    let (mut shared, mut clients) = (None, None);
    for wrap in std::iter::once(&config.wrap).chain(&config.second_wrap) {
        match wrap {
            ControlWrap::Plain => {}
            ControlWrap::TlsAuth { key, direction: way } => {
                shared = Some(Box::new(SharedWrap::TlsAuth {
                    key: shared_key("tls-auth", key)?,
                    digest: config.common.data.digest,
                    direction: way.map(direction),
                }));
            }
            ControlWrap::TlsCrypt { key } => {
                shared = Some(Box::new(SharedWrap::TlsCrypt(shared_key("tls-crypt", key)?)));
            }
            ControlWrap::TlsCryptV2 { key } => {
                let option = "tls-crypt-v2";
                let key = ServerKey::parse(text(option, key)?).map_err(|why| Unusable::Key { option, why })?;
                clients = Some(Box::new(key));
            }
        }
    }
    Ok(if shared.is_none() && clients.is_none() { ServerWrap::Plain } else { ServerWrap::Keyed { shared, clients } })
}
