//! What a censor would make of a capture or of a server: published detection rules, run on one's own traffic.
