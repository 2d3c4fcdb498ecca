//! A systemd-resolved that only remembers: the calls it got, and the servers it was given.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use futures_util::StreamExt as _;

use zbus::{Connection, MessageStream, ObjectPath, Variant};

type Servers = Vec<(i32, Vec<u8>)>;

/// A private system bus with it.
#[derive(Debug)]
pub(crate) struct Resolved {
    bus: Child,
    calls: Arc<Mutex<Vec<String>>>,
}

impl Resolved {
    /// Starts a bus, makes it this process's system bus, and answers on it.
    pub(crate) async fn start(dir: &Path) -> Self {
        let address = format!("unix:path={}", dir.join("bus").display());
        let mut bus = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--print-address=1", "--address", &address])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(bus.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let connection = zbus::connection::Builder::address(line.trim()).build().await.unwrap();
        let request = ("org.freedesktop.resolve1", 0_u32);
        let daemon = "org.freedesktop.DBus";
        connection
            .call_method(Some(daemon), "/org/freedesktop/DBus", Some(daemon), "RequestName", &request)
            .await
            .unwrap();
        let calls = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(answer(connection, Arc::clone(&calls)));
        Self { bus, calls }
    }

    /// The calls it got since it was last asked.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

impl Drop for Resolved {
    fn drop(&mut self) {
        self.bus.kill().unwrap();
        self.bus.wait().unwrap();
    }
}

async fn answer(connection: Connection, calls: Arc<Mutex<Vec<String>>>) {
    let mut links: BTreeMap<i32, Servers> = BTreeMap::new();
    let mut messages = MessageStream::from(&connection);
    while let Some(Ok(message)) = messages.next().await {
        if message.message_type() != zbus::message::Type::MethodCall {
            continue;
        }
        let header = message.header();
        let member = header.member().map(ToString::to_string).unwrap_or_default();
        let body = message.body();
        let said = match member.as_str() {
            "SetLinkDNS" => {
                let (index, servers): (i32, Servers) = body.deserialize().unwrap();
                let said = format!("{index} {servers:?}");
                links.insert(index, servers);
                said
            }
            "SetLinkDomains" => format!("{:?}", body.deserialize::<(i32, Vec<(String, bool)>)>().unwrap()),
            "SetLinkDefaultRoute" => format!("{:?}", body.deserialize::<(i32, bool)>().unwrap()),
            "RevertLink" => {
                let index: i32 = body.deserialize().unwrap();
                links.remove(&index);
                index.to_string()
            }
            _ => String::new(),
        };
        let done = match member.as_str() {
            "GetLink" => {
                let index: i32 = body.deserialize().unwrap();
                let path = ObjectPath::try_from(format!("/org/freedesktop/resolve1/link/_{index}")).unwrap();
                connection.reply(&header, &path).await
            }
            "Get" => {
                let path = header.path().unwrap().to_string();
                let index = path.rsplit('_').next().unwrap().parse::<i32>().unwrap();
                let servers = links.get(&index).cloned().unwrap_or_default();
                connection.reply(&header, &Variant::from(servers)).await
            }
            _ => {
                calls.lock().unwrap().push(format!("{member} {said}").trim().to_owned());
                connection.reply(&header, &()).await
            }
        };
        done.unwrap();
    }
}
