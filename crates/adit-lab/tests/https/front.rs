//! Behind Debian's nginx: what ends TLS is the web server that everybody knows.

use std::fs;
use std::process::{Child, Command, Stdio};

use crate::scene::{SITE, Scene};

/// nginx in Bob's namespace. Dropping it ends it.
struct Front(Child);

#[test]
fn behind_nginx_the_tunnel_is_one_of_its_locations() {
    let scene = Scene::new();
    let pin = scene.bob.certificate();
    let _front = Front::before(&scene);
    let dir = scene.bob.dir.display();
    scene.bob_up(&format!("Listen = 127.0.0.1:8443\nSite = {dir}/site\nBehind = true"));
    scene.alice_up(&format!(
        "Transport = https\nHttpsUrl = https://{SITE}\nHttpsAddress = {}\nHttpsRoots = pin\nHttpsPin = {pin}\n\
         HttpsPath = /updates.Feed/Watch",
        scene.bob_address()
    ));
    scene.connect();
    scene.exchange();
    assert_eq!(scene.bob.status()["peers"][0]["transport"], "https");
    let at = scene.bob_address();
    let page = scene.alice.host.run(&format!("curl -sk --resolve {SITE}:443:{at} https://{SITE}/"));
    assert!(page.contains("Welcome."), "{page}");
}

impl Front {
    fn before(scene: &Scene) -> Self {
        let dir = scene.bob.dir.display();
        let text = format!(
            "daemon off; pid {dir}/nginx.pid; error_log {dir}/nginx.log; user root; events {{}}\n\
             http {{ access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f;\n\
             uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
             server {{ listen 443 ssl http2; server_name {SITE};\n\
             ssl_certificate {dir}/cert.pem; ssl_certificate_key {dir}/key.pem;\n\
             location / {{ root {dir}/site; }}\n\
             location = /updates.Feed/Watch {{ grpc_pass grpc://127.0.0.1:8443; client_max_body_size 0;\n\
             client_body_timeout 1h; grpc_read_timeout 1h; grpc_send_timeout 1h; grpc_socket_keepalive on; }} }} }}\n"
        );
        let file = scene.bob.dir.join("nginx.conf");
        fs::write(&file, text).unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", scene.bob.host.name(), "nginx", "-c"]).arg(&file);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_raw(self.0.id().try_into().unwrap()).unwrap();
        let _gone_already = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _status = self.0.wait();
    }
}
