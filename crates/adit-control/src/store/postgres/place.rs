//! Where a PostgreSQL database is: its URL read, the names in it looked up, a connection made.
//!
//! Not here: what is said over it (the parent).

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{Client, Config, Connection, NoTls, Socket};

use super::{PATIENCE, Trouble, described};
use crate::store::{LookUp, MAX_ADDRESSES, StoreError};

/// How long one address may take to answer, where there is no other.
const CONNECT: Duration = Duration::from_secs(5);
/// How long all of them may take together: with looking them up, it is to be within [`PATIENCE`].
const CONNECT_ALL: Duration = Duration::from_secs(8);
/// No address has less than this, however many there are; the next attempt goes on where this one ended.
const CONNECT_LEAST: Duration = Duration::from_secs(1);
/// Stands for a host that is not found, beside others that are: the kernel connects to a broadcast address at no time.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::BROADCAST);

/// A database, as its URL names it.
pub(super) struct Place {
    config: Config,
    /// As people may read it: without the password.
    pub(super) shown: String,
    /// Who looks names up, if this process may not.
    look_up: Option<LookUp>,
    /// Held while a host is looked up, which cannot be called off: who gave up waiting leaves one question behind, not many.
    looking: Arc<Mutex<()>>,
    /// Which of several addresses is tried first: the one after the last that failed, or the one that answered.
    first: AtomicUsize,
}

impl Place {
    /// What the URL says.
    pub(super) fn of(url: &str, look_up: Option<LookUp>) -> Result<Self, StoreError> {
        let failed = |reason: String| StoreError::Failed { place: "the address of the database".to_owned(), reason };
        let mut config: Config = url.parse().map_err(|error| failed(described(&error)))?;
        let is_near = |host: &Host| match host {
            Host::Unix(_) => true,
            Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()),
        };
        // Where it is said, an address is what is connected to, whatever the name.
        let all_near = config.get_hosts().iter().all(is_near) && config.get_hostaddrs().iter().all(IpAddr::is_loopback);
        if !all_near && config.get_ssl_mode() != SslMode::Disable {
            let reason = "adit speaks to PostgreSQL without TLS\n  hint: use a Unix socket or a tunnel; if the network in between can be \
                trusted, say so with `sslmode=disable`";
            return Err(failed(reason.to_owned()));
        }
        config.application_name("adit").connect_timeout(CONNECT).tcp_user_timeout(PATIENCE);
        let shown = |host: &Host| match host {
            Host::Unix(path) => path.display().to_string(),
            Host::Tcp(name) => name.clone(),
        };
        let hosts: Vec<_> = config.get_hosts().iter().map(shown).collect();
        let shown = format!(
            "the PostgreSQL database {} at {}",
            config.get_dbname().unwrap_or("of this user"),
            hosts.join(", ")
        );
        Ok(Self { config, shown, look_up, looking: Arc::default(), first: AtomicUsize::new(0) })
    }

    /// The names that are looked up to connect to it.
    pub(super) fn names(&self) -> Vec<String> {
        if !self.config.get_hostaddrs().is_empty() {
            return Vec::new();
        }
        let hosts = self.config.get_hosts().iter();
        let name = |host: &Host| match host {
            Host::Tcp(name) if name.parse::<IpAddr>().is_err() => Some(name.clone()),
            Host::Tcp(_) | Host::Unix(_) => None,
        };
        hosts.filter_map(name).collect()
    }

    /// Connects, to whichever host and address answers first.
    pub(super) async fn connect(&self) -> Result<(Client, Connection<Socket, NoTlsStream>), Trouble> {
        let Some(look_up) = self.look_up.clone().filter(|_| !self.names().is_empty()) else {
            return Ok(self.config.connect(NoTls).await?);
        };
        let mut found = Vec::new();
        for host in self.config.get_hosts() {
            found.push(self.addresses(host, &look_up).await?);
        }
        let attempts = attempts(&self.config, &found);
        let mut trouble = None;
        for _ in &attempts {
            let number = self.first.load(Ordering::Relaxed) % attempts.len();
            // Before it is known: who gives up waiting drops this, and begins with the next.
            self.first.store(number + 1, Ordering::Relaxed);
            let Some(config) = attempts.get(number) else { break };
            match config.connect(NoTls).await {
                Ok(connected) => {
                    self.first.store(number, Ordering::Relaxed);
                    return Ok(connected);
                }
                Err(error) => trouble = Some(Trouble::Postgres(error)),
            }
        }
        let why = || found.iter().find_map(|found| found.as_ref().err()).map(ToString::to_string);
        Err(trouble.unwrap_or_else(|| Trouble::NotFound(why().unwrap_or_else(|| "its name has no address".to_owned()))))
    }

    /// Where a host is, as far as it can be found.
    async fn addresses(&self, host: &Host, look_up: &LookUp) -> Result<io::Result<Vec<IpAddr>>, Trouble> {
        let turn = self.looking.clone().lock_owned().await;
        let (host, look_up) = (host.clone(), look_up.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let _until_answered = turn;
            addresses(&host, &look_up)
        });
        asked.await.map_err(|_| Trouble::NotFound("looking up its name failed inside".to_owned()))
    }
}

fn addresses(host: &Host, look_up: &LookUp) -> io::Result<Vec<IpAddr>> {
    let Host::Tcp(name) = host else { return Err(io::Error::other("it is at a Unix socket")) };
    let mut found = name.parse().map_or_else(|_| look_up(name), |address| Ok(vec![address]))?;
    found.truncate(MAX_ADDRESSES);
    Ok(found)
}

/// One for each address of the host that has most, each address in one; none if no host has any.
fn attempts(config: &Config, found: &[io::Result<Vec<IpAddr>>]) -> Vec<Config> {
    let of_host = |found: &io::Result<Vec<IpAddr>>| found.as_ref().map_or(0, Vec::len);
    let most = found.iter().map(of_host).max().unwrap_or(0);
    let all = found.iter().map(of_host).sum();
    let attempt = |number: usize| {
        let mut config = config.clone();
        config.connect_timeout(share(all));
        for found in found {
            let address = found.as_ref().ok().and_then(|found| found.get(number));
            config.hostaddr(*address.unwrap_or(&NOWHERE));
        }
        config
    };
    (0..most).map(attempt).collect()
}

/// How long each of so many addresses may take to answer.
fn share(addresses: usize) -> Duration {
    let share = CONNECT_ALL / u32::try_from(addresses).unwrap_or(u32::MAX).max(1);
    share.clamp(CONNECT_LEAST, CONNECT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> Result<String, StoreError> {
        Place::of(url, None).map(|place| place.shown)
    }

    #[test]
    fn a_place_has_no_password() {
        let place = shown("postgres://adit:secret@localhost/vpn").unwrap();
        assert_eq!(place, "the PostgreSQL database vpn at localhost");
    }

    #[test]
    fn a_database_far_away_is_not_spoken_to_in_the_clear_unless_asked_for() {
        let refused = shown("postgres://adit@db.example.org/vpn").unwrap_err();
        assert!(refused.to_string().contains("without TLS"), "{refused}");
        assert!(shown("postgres://adit@db.example.org/vpn?sslmode=disable").is_ok());
        let by_address = shown("postgres://adit@localhost/vpn?hostaddr=203.0.113.5").unwrap_err();
        assert!(by_address.to_string().contains("without TLS"), "{by_address}");
        for near in ["postgres://adit@127.0.0.1/vpn", "postgres://adit@%2Frun%2Fpostgresql/vpn", "host=/run/postgresql"]
        {
            assert!(shown(near).is_ok(), "{near}");
        }
        assert!(matches!(shown("nonsense"), Err(StoreError::Failed { .. })));
    }

    #[test]
    fn only_names_are_looked_up() {
        let names = |url: &str| Place::of(url, None).unwrap().names();
        assert_eq!(
            names("host=one.example,127.0.0.1,two.example sslmode=disable user=x"),
            ["one.example", "two.example"]
        );
        assert!(names("postgres://x@127.0.0.1/vpn").is_empty() && names("host=/run/postgresql").is_empty());
        assert!(names("host=localhost hostaddr=127.0.0.1 user=x").is_empty(), "its address is given");
    }

    #[test]
    fn each_address_of_each_host_is_tried_and_one_that_is_not_found_stops_no_other() {
        let config: Config = "host=one.example,two.example,gone.example sslmode=disable user=x".parse().unwrap();
        let ip = |last: u8| IpAddr::from([192, 0, 2, last]);
        let found = [Ok(vec![ip(1), ip(2)]), Ok(vec![ip(3)]), Err(io::ErrorKind::NotFound.into())];
        let tried: Vec<_> = attempts(&config, &found).iter().map(|config| config.get_hostaddrs().to_vec()).collect();
        assert_eq!(tried, [[ip(1), ip(3), NOWHERE], [ip(2), NOWHERE, NOWHERE]], "each once");
        assert!(attempts(&config, &found[2..]).is_empty());
        assert!(attempts(&config, &[Ok(Vec::new())]).is_empty());
    }

    #[tokio::test]
    async fn a_name_is_looked_up_by_whom_it_is_given_to_each_time() {
        let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
        let seen = asked.clone();
        let look_up: LookUp = Arc::new(move |name| {
            seen.lock().unwrap().push(name.to_owned());
            Err(io::Error::other("no such host"))
        });
        let place = Place::of("postgres://x@db.example/vpn?sslmode=disable", Some(look_up)).unwrap();
        for _ in 0..2 {
            let Err(Trouble::NotFound(why)) = place.connect().await else { panic!("nobody is there") };
            assert_eq!(why, "no such host");
        }
        assert_eq!(*asked.lock().unwrap(), ["db.example", "db.example"]);
    }
    #[test]
    fn all_addresses_of_a_host_have_their_time() {
        assert_eq!(share(1), CONNECT);
        let all = share(MAX_ADDRESSES) * u32::try_from(MAX_ADDRESSES).unwrap();
        assert!(all <= CONNECT_ALL, "{all:?}");
        assert_eq!(share(10 * MAX_ADDRESSES), CONNECT_LEAST);
    }

    /// Somebody takes each connection, and says nothing.
    #[tokio::test]
    async fn who_gives_up_at_one_address_begins_with_the_next() {
        let silent = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
        let all = [1, 2, 3].map(|last| IpAddr::from([127, 0, 0, last]));
        let look_up: LookUp = Arc::new(move |_| Ok(all.to_vec()));
        let port = silent.local_addr().unwrap().port();
        let url = format!("postgres://x@db.example:{port}/vpn?sslmode=disable");
        let place = Arc::new(Place::of(&url, Some(look_up)).unwrap());
        for tried in [all[0], all[1], all[2], all[0]] {
            let asking = tokio::spawn({
                let place = place.clone();
                async move { place.connect().await.map(drop) }
            });
            let (taken, _) = silent.accept().await.unwrap();
            assert_eq!(taken.local_addr().unwrap().ip(), tried);
            asking.abort();
            assert!(asking.await.is_err(), "it is given up");
        }
    }

    /// As many as come, over and over, while name servers say nothing.
    #[tokio::test(start_paused = true)]
    async fn who_gives_up_waiting_for_a_name_leaves_one_question_behind() {
        let asked = Arc::new(AtomicUsize::new(0));
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        let (seen, held) = (asked.clone(), std::sync::Mutex::new(held));
        let look_up: LookUp = Arc::new(move |_| {
            seen.fetch_add(1, Ordering::SeqCst);
            let _until_let_go = held.lock().unwrap().recv();
            Err(io::Error::other("no such host"))
        });
        let place = Place::of("postgres://x@db.example/vpn?sslmode=disable", Some(look_up)).unwrap();
        for _ in 0..10 {
            let mut asking = Box::pin(place.connect());
            for _ in 0..3 {
                assert!(futures_now(asking.as_mut()).await.is_none(), "it waits");
            }
        }
        while asked.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        drop(let_go);
        assert!(place.connect().await.is_err());
        assert_eq!(asked.load(Ordering::SeqCst), 2, "the first, and the one that was waited for");
    }

    /// One look at work that may not be done.
    async fn futures_now<T>(mut work: std::pin::Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Option<T> {
        std::future::poll_fn(|cx| match work.as_mut().poll(cx) {
            std::task::Poll::Ready(done) => std::task::Poll::Ready(Some(done)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }
}
