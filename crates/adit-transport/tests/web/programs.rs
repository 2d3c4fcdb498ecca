//! The web servers of others that stand in front: how each is told to pass the tunnel on, as `docs/guide/https.md` shows it.
//!
//! Not here: what is claimed of them (`front`).

use std::net::SocketAddr;
use std::process::Command;

use crate::world::{Dir, HOST, Running};

/// The path of the tunnel.
pub(crate) const PATH: &str = "/sync.Files/Watch";

/// One of Debian's.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Program {
    Nginx,
    Haproxy,
    Caddy,
}

impl Program {
    /// Starts it with the certificate and the site in `dir`; it listens at `front`, and we do at `back`.
    pub(crate) async fn start(self, dir: &Dir, front: SocketAddr, back: SocketAddr) -> Running {
        let (name, text) = match self {
            Self::Nginx => ("nginx", nginx(dir, front, back)),
            Self::Haproxy => ("haproxy", haproxy(dir, front, back)),
            Self::Caddy => ("caddy", caddy(dir, front, back)),
        };
        let file = dir.write(&format!("{name}.conf"), text);
        let mut command = match self {
            Self::Nginx => Command::new("/usr/sbin/nginx"),
            Self::Haproxy => Command::new("/usr/sbin/haproxy"),
            Self::Caddy => Command::new("/usr/bin/caddy"),
        };
        match self {
            Self::Nginx => command.arg("-e").arg(dir.path("error.log")).arg("-c").arg(file).arg("-p").arg(dir.path("")),
            // Without going to the background.
            Self::Haproxy => command.arg("-db").arg("-f").arg(file),
            Self::Caddy => command
                .args(["run", "--adapter", "caddyfile", "--config"])
                .arg(file)
                .env("XDG_DATA_HOME", dir.path("data"))
                .env("XDG_CONFIG_HOME", dir.path("config")),
        };
        Running::start(&mut command, &dir.path(&format!("{name}.out")), front).await
    }
}

/// What an owner adds to a site is the second `location`.
fn nginx(dir: &Dir, front: SocketAddr, back: SocketAddr) -> String {
    let root = dir.path("site").display().to_string();
    let (chain, key) = (dir.path("chain.pem"), dir.path("key.pem"));
    let (pid, temporary) = (dir.path("nginx.pid"), dir.path("temporary"));
    format!(
        "daemon off; master_process off; pid {};
        events {{}}
        http {{
            access_log off;
            client_body_temp_path {temp}; proxy_temp_path {temp}; fastcgi_temp_path {temp}; uwsgi_temp_path {temp}; scgi_temp_path {temp};
            server {{
                listen {front} ssl http2;
                ssl_certificate {}; ssl_certificate_key {};
                root {root};
                location / {{ }}
                location = {PATH} {{
                    grpc_pass grpc://{back};
                    client_max_body_size 0;
                    grpc_read_timeout 1h; grpc_send_timeout 1h; client_body_timeout 1h;
                }}
            }}
        }}",
        pid.display(),
        chain.display(),
        key.display(),
        temp = temporary.display(),
    )
}

/// What an owner adds is the backend, and the line that chooses it. It has no files: what it shows is a site behind it.
fn haproxy(dir: &Dir, front: SocketAddr, back: SocketAddr) -> String {
    let (chain, key) = (dir.path("chain.pem"), dir.path("key.pem"));
    let both = [chain, key].map(|file| std::fs::read_to_string(file).unwrap()).concat();
    let certificate = dir.write("both.pem", both);
    format!(
        "global
            tune.h2.initial-window-size 1048576
        defaults
            mode http
            timeout connect 5s
            timeout client 1h
            timeout server 1h
        frontend site
            bind {front} ssl crt {} alpn h2,http/1.1
            use_backend adit if {{ path {PATH} }}
            default_backend pages
        backend adit
            server adit {back} proto h2
        backend pages
            server pages {back}
",
        certificate.display()
    )
}

/// What an owner adds is the first `handle`.
fn caddy(dir: &Dir, front: SocketAddr, back: SocketAddr) -> String {
    let (chain, key, root) = (dir.path("chain.pem"), dir.path("key.pem"), dir.path("site"));
    format!(
        "{{
            admin off
            auto_https off
            servers {{
                protocols h1 h2
            }}
        }}
        https://{HOST}:{port} {{
            bind {ip}
            tls {chain} {key}
            handle {PATH} {{
                reverse_proxy h2c://{back} {{
                    flush_interval -1
                }}
            }}
            handle {{
                root * {root}
                file_server
            }}
        }}
",
        port = front.port(),
        ip = front.ip(),
        chain = chain.display(),
        key = key.display(),
        root = root.display(),
    )
}
