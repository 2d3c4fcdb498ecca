//! Rows of the SQLite tables, as values and back. Every function runs inside a transaction of its caller's.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Trouble;
use crate::invite::InviteId;
use crate::model::{Change, Model};
use crate::peer::{Peer, PeerId};
use crate::policy::Policy;
use crate::store::{AuditHash, AuditRow, Entry};
use crate::time::UnixTime;
use crate::usage::{PeerUsage, Usage, UsageDelta};

type Done<T = ()> = Result<T, Trouble>;

/// The one row of `state`, before anything happened.
pub(super) fn begin(connection: &Connection) -> rusqlite::Result<usize> {
    let policy = serde_json::to_string(&Policy::default()).unwrap_or_default();
    connection.execute("INSERT INTO state (id, revision, next_id, policy) VALUES (1, 0, 1, ?1)", [policy])
}

pub(super) fn revision(connection: &Connection) -> Done<u64> {
    Ok(uint(connection.query_row("SELECT revision FROM state", [], |row| row.get(0))?))
}

pub(super) fn move_on(connection: &Connection, revision: u64, next_id: u64) -> Done {
    let text = "UPDATE state SET revision = ?1, next_id = max(next_id, ?2)";
    connection.execute(text, params![int(revision), int(next_id)])?;
    Ok(())
}

pub(super) fn model(connection: &Connection) -> Done<Model> {
    type State = (i64, i64, Option<String>, String);
    let read = |row: &Row<'_>| -> rusqlite::Result<State> { Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)) };
    let text = "SELECT revision, next_id, network, policy FROM state";
    let (revision, next_id, network, policy) = connection.query_row(text, [], read)?;
    Ok(Model {
        revision: uint(revision),
        next_id: uint(next_id),
        network: network.map(|network| parse(&network)).transpose()?,
        peers: records(connection, "SELECT record FROM peers", |peer: &Peer| peer.id)?,
        invites: records(connection, "SELECT record FROM invites", |invite: &crate::invite::Invite| invite.id)?,
        policy: parse(&policy)?,
    })
}

fn records<K: Ord, V: DeserializeOwned>(connection: &Connection, text: &str, key: fn(&V) -> K) -> Done<BTreeMap<K, V>> {
    let mut statement = connection.prepare_cached(text)?;
    let mut rows = statement.query([])?;
    let mut records = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let record: V = parse(row.get_ref(0)?.as_str().map_err(|error| Trouble::Row(error.to_string()))?)?;
        records.insert(key(&record), record);
    }
    Ok(records)
}

pub(super) fn write(connection: &Connection, change: &Change) -> Done {
    match change {
        Change::SetNetwork(network) => {
            connection.execute("UPDATE state SET network = ?1", [json(network)?])?;
        }
        Change::SetPolicy(policy) => {
            connection.execute("UPDATE state SET policy = ?1", [json(policy)?])?;
        }
        Change::PutPeer(peer) => {
            // Not REPLACE: that would take what the device used with it.
            let text = "INSERT INTO peers (id, name, key, v4, v6, record) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                ON CONFLICT (id) DO UPDATE SET name = ?2, key = ?3, v4 = ?4, v6 = ?5, record = ?6";
            let Peer { id, name, key, v4, v6, .. } = peer;
            let (key, v4, v6) = (key.to_string(), v4.to_string(), v6.to_string());
            let mut statement = connection.prepare_cached(text)?;
            statement.execute(params![int(id.0), name.folded(), key, v4, v6, json(peer)?])?;
        }
        Change::RemovePeer(PeerId(id)) => {
            connection.execute("DELETE FROM peers WHERE id = ?1", [int(*id)])?;
        }
        Change::PutInvite(invite) => {
            let text = "INSERT INTO invites (id, key, address, record) VALUES (?1, ?2, ?3, ?4)
                ON CONFLICT (id) DO UPDATE SET key = ?2, address = ?3, record = ?4";
            let (key, address) = (invite.key.to_string(), invite.address.to_string());
            let mut statement = connection.prepare_cached(text)?;
            statement.execute(params![int(invite.id.0), key, address, json(invite)?])?;
        }
        Change::RemoveInvite(InviteId(id)) => {
            connection.execute("DELETE FROM invites WHERE id = ?1", [int(*id)])?;
        }
    }
    Ok(())
}

/// Everything becomes this, but for the revision and the log.
pub(super) fn replace(connection: &Connection, model: &Model, usage: &Usage) -> Done {
    connection
        .execute_batch("DELETE FROM usage; DELETE FROM peers; DELETE FROM invites; UPDATE state SET network = NULL")?;
    if let Some(network) = &model.network {
        write(connection, &Change::SetNetwork(network.clone()))?;
    }
    write(connection, &Change::SetPolicy(model.policy.clone()))?;
    for peer in model.peers.values() {
        write(connection, &Change::PutPeer(peer.clone()))?;
    }
    for invite in model.invites.values() {
        write(connection, &Change::PutInvite(invite.clone()))?;
    }
    for (peer, used) in usage.peers.iter().filter(|(peer, _)| model.peers.contains_key(peer)) {
        put_usage(connection, *peer, used)?;
    }
    Ok(())
}

pub(super) fn usage(connection: &Connection) -> Done<Usage> {
    let text = "SELECT received, sent, day, day_bytes, month, month_bytes, seen, peer FROM usage";
    let mut statement = connection.prepare_cached(text)?;
    let rows = statement.query_map([], |row| Ok((PeerId(uint(row.get(7)?)), used(row)?)))?;
    Ok(Usage { peers: rows.collect::<Result<_, _>>()? })
}

fn used(row: &Row<'_>) -> rusqlite::Result<PeerUsage> {
    Ok(PeerUsage {
        received: uint(row.get(0)?),
        sent: uint(row.get(1)?),
        day: uint(row.get(2)?),
        day_bytes: uint(row.get(3)?),
        month: uint(row.get(4)?),
        month_bytes: uint(row.get(5)?),
        seen: row.get::<_, Option<i64>>(6)?.map(|seen| UnixTime(uint(seen))),
    })
}

pub(super) fn add_usage(connection: &Connection, delta: &UsageDelta, now: UnixTime) -> Done {
    let text = "SELECT received, sent, day, day_bytes, month, month_bytes, seen FROM peers
        LEFT JOIN usage ON usage.peer = peers.id WHERE peers.id = ?1";
    let mut statement = connection.prepare_cached(text)?;
    let read = |row: &Row<'_>| match row.get::<_, Option<i64>>(0)? {
        Some(_) => used(row),
        None => Ok(PeerUsage::default()),
    };
    match statement.query_row([int(delta.peer.0)], read).optional()? {
        Some(old) => put_usage(connection, delta.peer, &old.and(delta, now)),
        None => Ok(()),
    }
}

fn put_usage(connection: &Connection, peer: PeerId, used: &PeerUsage) -> Done {
    let text = "INSERT INTO usage (peer, received, sent, day, day_bytes, month, month_bytes, seen)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (peer) DO UPDATE SET
        received = ?2, sent = ?3, day = ?4, day_bytes = ?5, month = ?6, month_bytes = ?7, seen = ?8";
    let PeerUsage { received, sent, day, day_bytes, month, month_bytes, seen } = *used;
    let [received, sent, day, day_bytes, month, month_bytes] =
        [received, sent, day, day_bytes, month, month_bytes].map(int);
    let seen = seen.map(|seen| int(seen.0));
    let mut statement = connection.prepare_cached(text)?;
    statement.execute(params![int(peer.0), received, sent, day, day_bytes, month, month_bytes, seen])?;
    Ok(())
}

pub(super) fn log(connection: &Connection, revision: u64, entry: &Entry) -> Done {
    let last = audit(connection, None, 1)?.pop();
    let id = last.as_ref().map_or(0, |row| row.id) + 1;
    let hash = AuditHash::next(last.and_then(|row| row.hash).as_ref(), id, revision, entry);
    let Entry { at, who, origin, verb, what } = entry.clone();
    log_again(connection, &AuditRow { id, revision, at, who, origin, verb, what, hash: Some(hash) })
}

/// A row as it is, such as one of a log that is restored.
pub(super) fn log_again(connection: &Connection, row: &AuditRow) -> Done {
    let AuditRow { id, revision, at, who, origin, verb, what, hash } = row;
    let text =
        "INSERT INTO audit (id, revision, at, who, origin, verb, what, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let hash = hash.as_ref().map(AuditHash::as_bytes);
    let row = params![int(*id), int(*revision), int(at.0), who, origin, verb, what, hash];
    connection.prepare_cached(text)?.execute(row)?;
    Ok(())
}

/// The first entry that must have a hash.
pub(super) fn hashed_from(connection: &Connection) -> Done<u64> {
    Ok(uint(connection.query_row("SELECT hashed_from FROM state", [], |row| row.get(0))?))
}

/// From this entry on, all of a log that is restored must have one.
pub(super) fn hash_from(connection: &Connection, id: u64) -> Done {
    connection.execute("UPDATE state SET hashed_from = ?1", [int(id)])?;
    Ok(())
}

pub(super) fn audit(connection: &Connection, before: Option<u64>, limit: u32) -> Done<Vec<AuditRow>> {
    let text =
        "SELECT id, revision, at, who, origin, verb, what, hash FROM audit WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
    let mut statement = connection.prepare_cached(text)?;
    let read = |row: &Row<'_>| {
        Ok(AuditRow {
            id: uint(row.get(0)?),
            revision: uint(row.get(1)?),
            at: UnixTime(uint(row.get(2)?)),
            who: row.get(3)?,
            origin: row.get(4)?,
            verb: row.get(5)?,
            what: row.get(6)?,
            // One of another length is none, and found to be missing.
            hash: row.get::<_, Option<Vec<u8>>>(7)?.and_then(|hash| AuditHash::from_bytes(&hash)),
        })
    };
    let rows = statement.query_map(params![int(before.unwrap_or(u64::MAX)), limit], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn json<T: Serialize>(value: &T) -> Done<String> {
    serde_json::to_string(value).map_err(|error| Trouble::Row(error.to_string()))
}

fn parse<T: DeserializeOwned>(text: &str) -> Done<T> {
    serde_json::from_str(text).map_err(|error| Trouble::Row(error.to_string()))
}

/// SQLite's integers have a sign. What is larger than they can be stays at their largest.
fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn uint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
