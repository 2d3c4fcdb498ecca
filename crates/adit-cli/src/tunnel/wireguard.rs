//! A WireGuard tunnel that is up: made in order, taken down in the opposite order.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use adit::openvpn::network::{Authority, Ground, MembersChange};
use adit::profile::wg_quick::Profile;
use adit::uapi_socket::UapiSocket;
use adit::{Carriers, Guests, Options, Surroundings, Tunnel};
use adit_engine::{TunDevice, TunLink, UdpLink, UdpOptions};
use adit_host::{Applied, Host};
use ipnet::IpNet;
use tokio::task::{JoinHandle, JoinSet};

use super::asked::AskedGuests;
use super::{Asked, AskedPeers, host, host_failure, network, offload, plan, save, status, why};
use crate::exit::{Failure, Result};
use crate::places::Places;
use crate::report::{State, TunnelReport};
use crate::rpc::{Done, Limit};
use crate::web::{self, Web};

/// A tunnel with its interface, sockets and everything it changed on this machine.
#[derive(Debug)]
pub(crate) struct WireGuard {
    name: String,
    tunnel: Tunnel,
    /// The UDP port for OpenVPN clients, if there may be any.
    openvpn: Option<u16>,
    host: Host,
    /// What only whoever changes the tunnel touches, one at a time; empty when it is down.
    mine: Mutex<Option<Mine>>,
    addresses: Mutex<Vec<String>>,
    answers: JoinHandle<()>,
    why: Why,
}

/// Why a task of ours has stopped the tunnel, if one has.
type Why = Arc<OnceLock<&'static str>>;

/// What was asked for, and what was done for it.
#[derive(Debug)]
struct Mine {
    profile: Profile,
    applied: Applied,
    /// Where `SaveConfig` writes to.
    file: Option<PathBuf>,
    /// Keeps the interface alive: ends before the tunnel does.
    follower: JoinSet<()>,
    /// The process of the web site, if there is one: ends after the tunnel.
    web: Web,
}

impl WireGuard {
    /// Brings the tunnel up. On failure, nothing is left of it.
    pub(super) async fn up(name: &str, asked: Asked, places: &Places) -> Result<(Self, Done)> {
        let Asked { profile, gateway, limits, notes, file, keeps_peers: _, guests } = asked;
        let host = host(places);
        let mut wanted = plan::of_profile(name, &profile)?;
        wanted.gateway = gateway;
        let prepared = host.prepare(&wanted).await.map_err(|e| host_failure(&e))?;
        let state = places.state();
        let mark = prepared.fwmark().unwrap_or(0);
        let port = guests.as_ref().map(|guests| guests.port);
        let (tunnel, control, link, web) = match start(name, &profile, port, mark, &state).await {
            Ok(started) => started,
            Err(failure) => {
                if let Err(left) = prepared.cancel().await {
                    tracing::warn!("{left}");
                }
                return Err(failure);
            }
        };
        let applied = match prepared.apply(&wanted).await {
            Ok(applied) => applied,
            Err(e) => {
                drop(link);
                tunnel.stop().await;
                return Err(host_failure(&e));
            }
        };
        let why = Arc::new(OnceLock::new());
        let answers = tokio::spawn(answer_wg(control, tunnel.clone(), why.clone()));
        let mut follower = JoinSet::new();
        follower.spawn(follow_machine(link, tunnel.clone(), why.clone()));
        if let Some(visitor) = tunnel.outside().visitor() {
            follower.spawn(network::follow(visitor.clone(), state));
        }
        tunnel.set_limits(limits.iter().map(Limit::to_meter).collect()).await.map_err(Failure::failed)?;
        if let Some(guests) = guests {
            tunnel.change_members(all_of(guests)).await.map_err(Failure::failed)?;
        }
        let mine = Mine { profile, applied, file, follower, web };
        let running = Self {
            name: name.to_owned(),
            tunnel,
            openvpn: port,
            host,
            addresses: Mutex::new(mine.addresses()),
            mine: Mutex::new(Some(mine)),
            answers,
            why,
        };
        Ok((running, Done { notes }))
    }

    /// Changes what differs. What cannot be done changes nothing.
    pub(super) async fn reload(&self, asked: Asked) -> Result<Done> {
        let Asked { mut profile, gateway, limits, mut notes, file, keeps_peers, guests } = asked;
        if keeps_peers && let Some(mine) = self.mine().as_ref() {
            profile.peers = mine.profile.duplicate().peers;
        }
        let mut wanted = plan::of_profile(&self.name, &profile)?;
        wanted.gateway = gateway;
        let mut mine = self.mine().take().ok_or_else(|| Failure::failed(format!("{} is not up", self.name)))?;
        let port = guests.as_ref().map(|guests| guests.port);
        // Who is cut off is so whatever becomes of the rest; and where nothing is said of them any more, nobody is in.
        let members =
            if keeps_peers { Ok(()) } else { self.tunnel.change_members(guests.map_or_else(nobody, all_of)).await };
        let changed = self.change(&mut mine, &profile, wanted).await;
        if changed.is_ok() {
            mine.profile = profile;
        }
        *self.addresses() = mine.addresses();
        *self.mine() = Some(mine);
        members.map_err(Failure::failed)?;
        let mut changes = changed?;
        if self.openvpn != port {
            changes.push(
                "what is said of OpenVPN clients counts when the network is served anew: end `adit server up`, and start \
                 it again"
                    .to_owned(),
            );
        }
        self.limit(&limits).await?;
        if changes.is_empty() && file.is_some() {
            notes.push("Nothing in the file differs from what is running.".to_owned());
        }
        notes.extend(changes);
        Ok(Done { notes })
    }

    /// Changes some peers, and nothing else on this machine.
    pub(super) async fn change_peers(&self, mut asked: AskedPeers) -> Result<Done> {
        let mut mine = self.mine().take().ok_or_else(|| Failure::failed(format!("{} is not up", self.name)))?;
        let mut new = mine.profile.duplicate();
        asked.change(&mut new);
        let changed = self.tunnel.reload(&mine.profile, &new).await;
        if changed.is_ok() {
            mine.profile = new;
        }
        *self.mine() = Some(mine);
        changed.map_err(Failure::failed)?;
        self.tunnel.change_members(asked.of_members()).await.map_err(Failure::failed)?;
        if let Some(limits) = &asked.limits {
            self.limit(limits).await?;
        }
        Ok(Done::default())
    }

    /// Makes again what was made on this machine and somebody has taken away since.
    pub(super) async fn mend(&self) -> Result<Done> {
        let mut mine = self.mine().take().ok_or_else(|| Failure::failed(format!("{} is not up", self.name)))?;
        let mended = self.host.mend(&mut mine.applied).await;
        *self.mine() = Some(mine);
        let changes = mended.map_err(|e| host_failure(&e))?;
        Ok(Done { notes: changes.iter().map(ToString::to_string).collect() })
    }

    async fn limit(&self, limits: &[Limit]) -> Result<()> {
        self.tunnel.set_limits(limits.iter().map(Limit::to_meter).collect()).await.map_err(Failure::failed)
    }

    async fn change(&self, mine: &mut Mine, new: &Profile, mut wanted: adit_host::HostPlan) -> Result<Vec<String>> {
        let mut said = Vec::new();
        wanted.fwmark = self.host.choose_fwmark(&wanted).await.map_err(|e| host_failure(&e))?;
        let (port, mark) = (new.interface.listen_port, wanted.fwmark.unwrap_or(0));
        if port != mine.profile.interface.listen_port
            && let Some(port) = port
        {
            self.tunnel.set_listen_port(port).await.map_err(|e| why::udp(port, mark, &e))?;
            said.push(format!("listen on UDP port {port}"));
        }
        if mark != self.tunnel.outside().fwmark() {
            let failed = |e: std::io::Error| Failure::io(format!("cannot set the mark {mark:#x}"), &e);
            self.tunnel.set_fwmark(mark).await.map_err(failed)?;
            said.push(format!("mark datagrams with {mark:#x}"));
        }
        let begins_https = self.tunnel.outside().visitor().is_none() && adit::https::reached_by_https(new).is_some();
        if mine.profile.web_site != new.web_site || begins_https {
            let name = &self.name;
            said.push(match &mine.file {
                Some(_) => {
                    format!(
                        "what [Https] says, and a first HttpsUrl, count after `adit down {name}` and `adit up {name}`"
                    )
                }
                None => {
                    "the web site is as it was until the network is served anew: end `adit server up`, and start it \
                         again"
                        .to_owned()
                }
            });
        }
        if self.tunnel.reload(&mine.profile, new).await.map_err(Failure::failed)? {
            said.push("keys and peers changed; sessions of peers that stay are kept".to_owned());
        }
        let changes = self.host.update(&mut mine.applied, &wanted).await.map_err(|e| host_failure(&e))?;
        said.extend(changes.iter().map(ToString::to_string));
        Ok(said)
    }

    /// Undoes everything.
    pub(super) async fn down(&self) -> Result<Done> {
        let Some(mine) = self.mine().take() else { return Ok(Done::default()) };
        let mut notes = Vec::new();
        if mine.profile.interface.save_config
            && let Some(file) = &mine.file
        {
            notes.push(self.save(&mine, file).await);
        }
        let tunnel = self.tunnel.clone();
        // PostDown commands are run when the interface is gone, the others before.
        let Mine { applied, mut follower, mut web, .. } = mine;
        let end = async move {
            follower.shutdown().await;
            drop(tunnel.stop().await);
            web.ended().await;
        };
        let undone = applied.undo_around(end).await;
        self.answers.abort();
        undone.map_err(|e| host_failure(&e))?;
        Ok(Done { notes })
    }

    async fn save(&self, mine: &Mine, to: &Path) -> String {
        let file = to.display();
        let Ok(device) = self.tunnel.device().await else {
            return format!("{file} is not saved: the tunnel had already ended");
        };
        let outside = self.tunnel.outside();
        let now = save::as_it_is(&mine.profile, device, outside.listen_port(), outside.fwmark());
        match save::write(to, &now) {
            Ok(()) => format!("{file} is saved as the tunnel was (SaveConfig)"),
            Err(e) => format!("{file} is not saved: {e}"),
        }
    }

    /// Waits until it has ended by itself, and says why.
    pub(super) async fn ended(&self) -> String {
        let stopped = self.tunnel.stopped().await;
        self.why.get().map_or_else(|| stopped.to_string(), |why| (*why).to_owned())
    }

    /// How it is.
    pub(super) async fn report(&self) -> TunnelReport {
        let addresses = self.addresses().clone();
        match self.tunnel.status().await {
            Ok(now) => {
                let report = status::report(&self.name, addresses, now);
                // The engine looks at it when packets pass.
                let mtu = self.host.mtu_of(&self.name).await.ok().flatten();
                TunnelReport { mtu: mtu.or(report.mtu), openvpn_port: self.openvpn, ..report }
            }
            Err(_gone) => TunnelReport { state: State::Failed, addresses, ..TunnelReport::empty(&self.name) },
        }
    }

    fn mine(&self) -> MutexGuard<'_, Option<Mine>> {
        self.mine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn addresses(&self) -> MutexGuard<'_, Vec<String>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WireGuard {
    fn drop(&mut self) {
        self.answers.abort();
    }
}

impl Mine {
    fn addresses(&self) -> Vec<String> {
        self.applied.plan().addresses.iter().map(ToString::to_string).collect()
    }
}

/// Inside, protocol and outside, joined, and the socket of `wg`.
async fn start(
    name: &str,
    profile: &Profile,
    openvpn: Option<u16>,
    fwmark: u32,
    state: &Path,
) -> Result<(Tunnel, UapiSocket, TunLink, Web)> {
    let offload = offload()?;
    let port = profile.interface.listen_port.unwrap_or(0);
    // First what another program may have taken, so that no interface appears for nothing.
    let (elsewhere, web) = web::elsewhere();
    let surroundings = Surroundings {
        state: state.to_owned(),
        network: network::fingerprint(),
        memory: network::remembered(state),
        web: Some(elsewhere),
    };
    let (carriers, outside) = Carriers::open(profile, UdpOptions { port, fwmark, offload }, surroundings)
        .await
        .map_err(|e| why::outside(port, fwmark, &e))?;
    let guests = openvpn.map(|port| guests(profile, UdpOptions { port, fwmark, offload })).transpose()?;
    let inside = TunDevice::open(name, offload).map_err(|e| why::tun(name, &e))?;
    let link = inside.link().map_err(|e| why::tun(name, &e))?;
    let socket = UapiSocket::bind(name).map_err(Failure::failed)?;
    let options = Options { outside, ..Options::default() };
    let tunnel = match guests {
        None => Tunnel::start_profile(profile, inside, carriers, options).await,
        Some(guests) => Tunnel::start_profile_with_guests(profile, inside, carriers, guests, options).await,
    };
    let tunnel = tunnel.map_err(Failure::failed)?;
    Ok((tunnel, socket, link, web))
}

/// What is needed for OpenVPN clients beside the peers of a network.
fn guests(profile: &Profile, options: UdpOptions) -> Result<Guests<UdpLink>> {
    let (port, fwmark) = (options.port, options.fwmark);
    let key = profile.interface.private_key.as_ref();
    let key = key.ok_or_else(|| Failure::failed("without a private key there is no authority for OpenVPN clients"))?;
    let (carrier, _control) = UdpLink::bind(options).map_err(|e| why::udp(port, fwmark, &e))?;
    Ok(Guests { carrier, authority: Authority::of(key).map_err(Failure::failed)?, ground: ground(profile) })
}

/// What they are told of the network around them.
fn ground(profile: &Profile) -> Ground {
    let (mut v4, mut mask, mut prefix6) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, 128);
    for net in &profile.interface.addresses {
        match net {
            IpNet::V4(net) => (v4, mask) = (net.addr(), net.netmask()),
            IpNet::V6(net) => prefix6 = net.prefix_len(),
        }
    }
    Ground { v4, mask, prefix6, mtu: profile.interface.mtu.unwrap_or(MTU) }
}

/// The table of OpenVPN clients with none.
fn nobody() -> MembersChange {
    MembersChange { only: Some(std::collections::BTreeSet::new()), ..MembersChange::default() }
}

/// The table of OpenVPN clients as a whole.
fn all_of(guests: AskedGuests) -> MembersChange {
    let only = guests.members.iter().map(|member| member.certificate).collect();
    MembersChange { put: guests.members, only: Some(only), ..MembersChange::default() }
}

/// What the interface has on a usual line.
const MTU: u16 = 1420;

/// Answers `wg show` and `wg set`; when its socket is removed, that is the end of the tunnel, as wireguard-go has it.
async fn answer_wg(control: UapiSocket, tunnel: Tunnel, why: Why) {
    if let Err(e) = control.serve(&tunnel).await {
        tracing::warn!("`wg` cannot be answered any more: {e}");
        return;
    }
    let _first = why.set("its control socket was removed");
    tunnel.stop().await;
}

/// Lets the tunnel be up and down as its interface is, and notices the end of that.
async fn follow_machine(link: TunLink, tunnel: Tunnel, why: Why) {
    if adit::follow(link, &tunnel).await.is_ok() {
        let _first = why.set("its interface was removed");
        tunnel.stop().await;
    }
}
