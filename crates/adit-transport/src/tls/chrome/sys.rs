//! The calls of BoringSSL that its safe wrapper does not have. Nothing else.
#![expect(
    unsafe_code,
    reason = "the wrapper lacks these calls, or cannot say when they are safe, and Chromium makes them"
)]

use boring::{
    error::ErrorStack,
    ssl::{SslContextBuilder, SslRef, SslSessionRef},
};
use foreign_types::ForeignTypeRef;

/// Offers to exchange settings of `protocol` in the handshake (ALPS, on its present code point), with none of our own.
pub(super) fn offer_application_settings(ssl: &mut SslRef, protocol: &[u8]) -> Result<(), ErrorStack> {
    // SAFETY: `ssl` is a live connection that we hold exclusively; both ranges are valid for the call, which copies them.
    let done = unsafe {
        boring_sys::SSL_add_application_settings(ssl.as_ptr(), protocol.as_ptr(), protocol.len(), [].as_ptr(), 0)
    };
    // SAFETY: as above; it sets a flag.
    unsafe { boring_sys::SSL_set_alps_use_new_codepoint(ssl.as_ptr(), 1) };
    if done == 1 { Ok(()) } else { Err(ErrorStack::get()) }
}

/// Offers to resume a session that another context of the same kind was given.
pub(super) fn resume(ssl: &mut SslRef, session: &SslSessionRef) -> Result<(), ErrorStack> {
    // SAFETY: both are live. OpenSSL asks for the context that the session is of; BoringSSL's sessions hold none, and it compares
    // for itself what must be alike (version, cipher, kind of context) before it offers one.
    unsafe { ssl.set_session(session) }
}

/// Has the certificates of a session judged again when it is resumed.
pub(super) fn verify_on_resumption(context: &mut SslContextBuilder) {
    // SAFETY: `context` is live and held exclusively; it sets a flag.
    unsafe { boring_sys::SSL_CTX_set_reverify_on_resume(context.as_ptr(), 1) };
}

/// Names the trust anchors that the hello asks for: `list` holds each with its length before it.
pub(super) fn name_trust_anchors(context: &mut SslContextBuilder, list: &[u8]) -> Result<(), ErrorStack> {
    // SAFETY: `context` is live and held exclusively; the range is valid for the call, which checks and copies it.
    let done = unsafe { boring_sys::SSL_CTX_set1_requested_trust_anchors(context.as_ptr(), list.as_ptr(), list.len()) };
    if done == 1 { Ok(()) } else { Err(ErrorStack::get()) }
}
