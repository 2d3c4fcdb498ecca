//! WireGuard as a state machine: bytes and [`Now`](adit_protocol::Now) go in; bytes, events and the next deadline come out.
//!
//! Not here: sockets, clocks, threads, TUN devices (the engine), text of configuration files (`adit::profile`).
//!
//! A [`Device`] is one interface. It is driven through [`Protocol`](adit_protocol::Protocol): *plan* a packet, *run* the
//! job (which needs no device, so any thread may), *commit* what was opened, *poll* until
//! [`Output::Timeout`](adit_protocol::Output::Timeout). Sections (§) in these pages are those of the
//! [WireGuard whitepaper](https://www.wireguard.com/papers/wireguard.pdf).
//!
//! | module | what it knows |
//! |---|---|
//! | `device`, `exchange`, `configure` | all peers: dispatch of messages; handshakes as they arrive; live changes and status |
//! | `peer`, `peers`, `shared` | one peer; where it is found; what all of them share |
//! | `keyring`, `session` | previous, current, next session (§6.3); the jobs that seal and open (§5.4.6) |
//! | `noise`, `hash`, `tai64n` | the handshake (§5.4), its hashes, its timestamps (§5.1) |
//! | `cookie`, `gate` | MAC1, MAC2, cookies (§5.3): as sender; as receiver, with the measure of load |
//! | `timers` | which deadline a peer has, and why (§6) |
//! | `message`, `index`, `constants` | the wire; whose a message is; every number |
//! | [`uapi`] | the control text of `wg`, as values |
//!
//! # Two devices talk
//!
//! ```
//! use std::time::{Duration, Instant};
//! use adit_protocol::{Delivery, Inbound, IpPacket, Now, Open as _, Opening, Outbound, Output, Path, Protocol as _};
//! use adit_protocol::{Seal as _, Sealing};
//! use adit_wireguard::{AllowedIpChange, Device, DeviceChange, OpenJob, PeerChange, PrivateKey, PublicKey, SealJob};
//!
//! fn device(n: u8, private_key: PrivateKey, other: PublicKey, now: Now) -> Device {
//!     let mut device = Device::new([n; 32], now); // the seed: from the operating system, outside of examples
//!     let mut peer = PeerChange::new(other);
//!     peer.endpoint = Some(([192, 0, 2, 3 - n], 51820).into());
//!     peer.allowed_ips.push(AllowedIpChange::Add("10.0.0.0/8".parse().unwrap()));
//!     let peers = vec![peer];
//!     device.apply(now, DeviceChange { private_key: Some(private_key), peers, ..DeviceChange::default() });
//!     device
//! }
//!
//! fn seal(job: SealJob, packet: Option<&IpPacket<'_>>) -> Vec<u8> {
//!     let mut datagram = vec![0; job.wire_len(packet.map_or(0, IpPacket::len))];
//!     job.lay_out(packet, &mut datagram);
//!     SealJob::seal_batch(&mut [Sealing { job, datagram: &mut datagram }]);
//!     datagram
//! }
//!
//! /// Carries all that `from` has to send; gives back the packets that `to` delivers.
//! fn carry(from: &mut Device, n: u8, to: &mut Device, now: Now) -> Vec<Vec<u8>> {
//!     let (path, mut delivered) = (Path::to(([192, 0, 2, n], 51820).into()), vec![]);
//!     loop {
//!         let mut datagram = match from.poll_output(now) {
//!             Output::Transmit { datagram, .. } => datagram,
//!             Output::Seal { job, packet, .. } => seal(job, IpPacket::parse(&packet).as_ref()),
//!             Output::Event(_) => continue,
//!             Output::Timeout(..) => return delivered,
//!         };
//!         if let Inbound::Open(job) = to.plan_inbound(now, path, &mut datagram) {
//!             let mut batch = [Opening::<OpenJob>::new(job, &mut datagram)];
//!             OpenJob::open_batch(&mut batch);
//!             let opened = batch[0].outcome.take().expect("authentic");
//!             if let Delivery::Packet(range) = to.commit_inbound(now, opened, &datagram) {
//!                 delivered.push(datagram[range].to_vec());
//!             }
//!         }
//!     }
//! }
//!
//! let now = Now { instant: Instant::now(), unix: Duration::from_secs(1_700_000_000) };
//! let (a, b) = (PrivateKey::new([1; 32]), PrivateKey::new([2; 32]));
//! let (a_public, b_public) = (a.public_key(), b.public_key());
//! let (mut alice, mut bob) = (device(1, a, b_public, now), device(2, b, a_public, now));
//!
//! let bytes = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
//! let packet = IpPacket::parse(&bytes).unwrap();
//! assert!(matches!(alice.plan_outbound(now, &packet), Outbound::Staged)); // no session yet: it waits for one
//! carry(&mut alice, 1, &mut bob, now); // initiation
//! carry(&mut bob, 2, &mut alice, now); // response
//! assert_eq!(carry(&mut alice, 1, &mut bob, now), [bytes]);
//! ```

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod change;
mod configure;
mod constants;
mod cookie;
mod device;
mod exchange;
mod gate;
mod hash;
mod index;
mod key;
mod keyring;
mod message;
mod noise;
mod peer;
mod peers;
mod session;
mod shared;
mod status;
mod tai64n;
mod timers;
pub mod uapi;

pub use change::{AllowedIpChange, DeviceChange, Event, PeerChange};
pub use device::Device;
pub use key::{KeyError, PresharedKey, PrivateKey, PublicKey};
pub use session::{OpenJob, Opened, SealJob};
pub use status::{DeviceStatus, PeerStatus};
