//! Debian's nginx before adit: what everybody knows ends TLS, and hands one of its locations on.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use adit_lab::poll::{self, PATIENCE};

use crate::site::{HOST, Server, Site};

/// The location that is handed on. Whoever sets up a front chooses its own.
pub(crate) const LOCATION: &str = "/updates.Feed/Watch";

/// nginx on loopback, until it is dropped.
pub(crate) struct Front {
    pub(crate) address: SocketAddr,
    nginx: Child,
}

impl Front {
    /// Serves the site; the location is `behind`'s.
    pub(crate) fn before(site: &Site, name: &str, behind: &Server) -> Self {
        // Free a moment ago: nginx takes no other's socket, and says so if somebody was faster.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (dir, own) = (site.path("").display().to_string(), site.path(name).display().to_string());
        fs::create_dir(&own).unwrap();
        let text = format!(
            "daemon off; pid {own}/pid; error_log {own}/log; user root; events {{}}\n\
             http {{ access_log off; client_body_temp_path {own}/b; proxy_temp_path {own}/p;\n\
             fastcgi_temp_path {own}/f; uwsgi_temp_path {own}/u; scgi_temp_path {own}/s;\n\
             server {{ listen {address} ssl http2; server_name {HOST}; port_in_redirect off;\n\
             ssl_certificate {dir}/chain.pem; ssl_certificate_key {dir}/key.pem;\n\
             location / {{ root {dir}/site; }}\n\
             location = {LOCATION} {{ grpc_pass grpc://{}; client_max_body_size 0;\n\
             grpc_read_timeout 1h; grpc_send_timeout 1h; }} }} }}\n",
            behind.address
        );
        let file = site.path(&format!("{name}.conf"));
        fs::write(&file, text).unwrap();
        let mut command = Command::new("nginx");
        let nginx = command.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let front = Self { address, nginx: nginx.spawn().unwrap() };
        poll::until("nginx listens", PATIENCE, || TcpStream::connect(address).ok());
        front
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.nginx);
        let _gone_already = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _status = self.nginx.wait();
    }
}
