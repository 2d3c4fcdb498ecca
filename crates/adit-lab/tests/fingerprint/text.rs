//! A profile as text: what `cargo xtask fingerprint --update` writes. Not here: how it is read (`tls::profile`).

use std::fmt::Write as _;

use adit_transport::tls::profile::{Http2Profile, Kind, TlsProfile};

/// A profile of the browser that was seen today.
pub(crate) fn profile(version: &str, date: &str, tls: &TlsProfile, http2: &Http2Profile) -> String {
    let major = version.split('.').next().unwrap_or_default();
    let mut text = format!(
        "# The browser that adit's HTTPS carrier looks like, as it was seen on loopback. Written by `cargo xtask fingerprint --update`.\n\
         name = \"chromium-{major}-linux\"\n\
         captured = {date}\n\
         lifetime_days = 90\n\
         platform = \"linux\"                      # offered only on a machine of this kind: TCP tells which it is\n\n"
    );
    tls_section(&mut text, tls);
    http2_section(&mut text, http2);
    text
}

fn tls_section(text: &mut String, tls: &TlsProfile) {
    let hex = |numbers: &[u16]| numbers.iter().map(|number| format!("0x{number:04x}")).collect::<Vec<_>>().join(", ");
    let mut line = |line: String| writeln!(text, "{line}").unwrap();
    line("[tls]".to_owned());
    line(format!("ja4 = \"{}\"", tls.ja4));
    line(format!("ciphers = [{}]", hex(&tls.ciphers)));
    line(
        "# In ascending order: the browser shuffles them. A reserved (GREASE) one stands first and last on the wire."
            .to_owned(),
    );
    line(format!("extensions = [{}]", hex(&tls.extensions)));
    line(format!("signature_algorithms = [{}]", hex(&tls.signature_algorithms)));
    line(format!("groups = [{}]", hex(&tls.groups)));
    line(format!("key_shares = [{}]", hex(&tls.key_shares)));
    line(format!("versions = [{}]", hex(&tls.versions)));
    line(format!("alpn = {:?}", tls.alpn));
    line(format!("application_settings = {:?}", tls.application_settings));
    line(format!("certificate_compression = [{}]", hex(&tls.certificate_compression)));
    line("# The certificate authorities that the browser says it knows: object identifiers, as they stand in the extension.".to_owned());
    line("trust_anchors = [".to_owned());
    for row in tls.trust_anchors.chunks(6) {
        line(format!("  {},", row.iter().map(|anchor| format!("{anchor:?}")).collect::<Vec<_>>().join(", ")));
    }
    line("]\n".to_owned());
}

fn http2_section(text: &mut String, http2: &Http2Profile) {
    let mut line = |line: String| writeln!(text, "{line}").unwrap();
    let settings: Vec<_> = http2.settings.iter().map(|(id, value)| format!("[0x{id:x}, {value}]")).collect();
    line("[http2]".to_owned());
    line(format!("settings = [{}]", settings.join(", ")));
    line(format!("window_update = {}", http2.window_update));
    line(format!("pseudo_headers = {:?}", http2.pseudo_headers));
    line(
        "# The first two records after the client's Finished, without their five bytes of header, for `example.test`."
            .to_owned(),
    );
    line(format!("first_records = {:?}\n", http2.first_records));
    line("# What each kind of request says, in this order. `{referer}` stands for the page that asked. Its HEADERS frame carries the\n\
          # old priority too: exclusive, and `weight` (as on the wire: one less than its meaning).".to_owned());
    for (index, request) in http2.requests.iter().enumerate() {
        if index > 0 {
            line(String::new());
        }
        line("[[http2.requests]]".to_owned());
        line(format!("kind = \"{}\"", kind(request.kind)));
        line(format!("weight = {}", request.weight));
        line("headers = [".to_owned());
        for (name, value) in &request.headers {
            line(format!("  [{name:?}, {value:?}],"));
        }
        line("]".to_owned());
    }
}

const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Document => "document",
        Kind::Style => "style",
        Kind::Script => "script",
        Kind::Image => "image",
        Kind::Icon => "icon",
    }
}

/// Bytes in hexadecimal, in lines.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(60) {
        for byte in line {
            write!(text, "{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    text
}
