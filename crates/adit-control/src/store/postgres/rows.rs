//! Rows of the PostgreSQL tables, as values and back. Every function runs inside a transaction of its caller's.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_postgres::{Row, Transaction};

use super::Trouble;
use crate::invite::{Invite, InviteId};
use crate::model::{Change, Model};
use crate::peer::{Peer, PeerId};
use crate::policy::Policy;
use crate::store::{AuditHash, AuditRow, Entry};
use crate::time::UnixTime;
use crate::usage::{PeerUsage, Usage, UsageDelta};

type Done<T = ()> = Result<T, Trouble>;

/// The one row of `state`, before anything happened.
pub(super) async fn begin(transaction: &Transaction<'_>) -> Done {
    let text = "INSERT INTO adit.state (id, revision, next_id, policy) VALUES (1, 0, 1, $1)";
    transaction.execute(text, &[&json(&Policy::default())?]).await?;
    Ok(())
}

/// `lock` is empty, or `FOR UPDATE`: then nobody else changes anything before this transaction ends.
pub(super) async fn revision(transaction: &Transaction<'_>, lock: &'static str) -> Done<u64> {
    let row = transaction.query_one(&format!("SELECT revision FROM adit.state {lock}"), &[]).await?;
    Ok(uint(row.try_get(0)?))
}

/// The next revision, its row of the log, and the notice that other gateways get.
pub(super) async fn move_on(transaction: &Transaction<'_>, revision: u64, next_id: u64, entry: &Entry) -> Done {
    let text = "UPDATE adit.state SET revision = $1, next_id = greatest(next_id, $2)";
    transaction.execute(text, &[&int(revision), &int(next_id)]).await?;
    let last = audit(transaction, None, 1).await?.pop();
    let id = last.as_ref().map_or(0, |row| row.id) + 1;
    let hash = AuditHash::next(last.and_then(|row| row.hash).as_ref(), id, revision, entry);
    let Entry { at, who, origin, verb, what } = entry.clone();
    log_again(transaction, &AuditRow { id, revision, at, who, origin, verb, what, hash: Some(hash) }).await?;
    transaction.execute("SELECT pg_notify('adit', $1)", &[&revision.to_string()]).await?;
    Ok(())
}

pub(super) async fn model(transaction: &Transaction<'_>) -> Done<Model> {
    let state = transaction.query_one("SELECT revision, next_id, network, policy FROM adit.state", &[]).await?;
    let network: Option<String> = state.try_get(2)?;
    Ok(Model {
        revision: uint(state.try_get(0)?),
        next_id: uint(state.try_get(1)?),
        network: network.map(|network| parse(&network)).transpose()?,
        peers: records(transaction, "SELECT record FROM adit.peers", |peer: &Peer| peer.id).await?,
        invites: records(transaction, "SELECT record FROM adit.invites", |invite: &Invite| invite.id).await?,
        policy: parse(state.try_get(3)?)?,
    })
}

async fn records<K: Ord, V: DeserializeOwned>(
    transaction: &Transaction<'_>,
    text: &'static str,
    key: fn(&V) -> K,
) -> Done<BTreeMap<K, V>> {
    let rows = transaction.query(text, &[]).await?;
    let read = |row: &Row| {
        let record: V = parse(row.try_get(0)?)?;
        Ok((key(&record), record))
    };
    rows.iter().map(read).collect()
}

pub(super) async fn write(transaction: &Transaction<'_>, change: &Change) -> Done {
    match change {
        Change::SetNetwork(network) => {
            transaction.execute("UPDATE adit.state SET network = $1", &[&json(network)?]).await?;
        }
        Change::SetPolicy(policy) => {
            transaction.execute("UPDATE adit.state SET policy = $1", &[&json(policy)?]).await?;
        }
        Change::PutPeer(peer) => {
            let text = "INSERT INTO adit.peers (id, name, key, v4, v6, record) VALUES ($1, $2, $3, $4, $5, $6)
                ON CONFLICT (id) DO UPDATE SET name = $2, key = $3, v4 = $4, v6 = $5, record = $6";
            let Peer { id, name, key, v4, v6, .. } = peer;
            let (key, v4, v6) = (key.to_string(), v4.to_string(), v6.to_string());
            transaction.execute(text, &[&int(id.0), &name.folded(), &key, &v4, &v6, &json(peer)?]).await?;
        }
        Change::RemovePeer(PeerId(id)) => {
            transaction.execute("DELETE FROM adit.peers WHERE id = $1", &[&int(*id)]).await?;
        }
        Change::PutInvite(invite) => {
            let text = "INSERT INTO adit.invites (id, key, address, record) VALUES ($1, $2, $3, $4)
                ON CONFLICT (id) DO UPDATE SET key = $2, address = $3, record = $4";
            let (key, address) = (invite.key.to_string(), invite.address.to_string());
            transaction.execute(text, &[&int(invite.id.0), &key, &address, &json(invite)?]).await?;
        }
        Change::RemoveInvite(InviteId(id)) => {
            transaction.execute("DELETE FROM adit.invites WHERE id = $1", &[&int(*id)]).await?;
        }
    }
    Ok(())
}

/// Everything becomes this, but for the revision and the log.
pub(super) async fn replace(transaction: &Transaction<'_>, model: &Model, usage: &Usage) -> Done {
    let clear = "DELETE FROM adit.usage; DELETE FROM adit.peers; DELETE FROM adit.invites; UPDATE adit.state SET network = NULL";
    transaction.batch_execute(clear).await?;
    if let Some(network) = &model.network {
        write(transaction, &Change::SetNetwork(network.clone())).await?;
    }
    write(transaction, &Change::SetPolicy(model.policy.clone())).await?;
    for peer in model.peers.values() {
        write(transaction, &Change::PutPeer(peer.clone())).await?;
    }
    for invite in model.invites.values() {
        write(transaction, &Change::PutInvite(invite.clone())).await?;
    }
    let known = usage.peers.iter().filter(|(peer, _)| model.peers.contains_key(peer));
    put_usage(transaction, known.map(|(peer, used)| (*peer, *used)).collect()).await
}

pub(super) async fn usage(transaction: &Transaction<'_>) -> Done<Usage> {
    let text = "SELECT peer, received, sent, day, day_bytes, month, month_bytes, seen FROM adit.usage";
    let rows = transaction.query(text, &[]).await?;
    Ok(Usage { peers: rows.iter().map(used).collect::<Done<_>>()? })
}

fn used(row: &Row) -> Done<(PeerId, PeerUsage)> {
    let column = |place| row.try_get::<usize, i64>(place).map(uint);
    let usage = PeerUsage {
        received: column(1)?,
        sent: column(2)?,
        day: column(3)?,
        day_bytes: column(4)?,
        month: column(5)?,
        month_bytes: column(6)?,
        seen: row.try_get::<_, Option<i64>>(7)?.map(|seen| UnixTime(uint(seen))),
    };
    Ok((PeerId(column(0)?), usage))
}

pub(super) async fn add_usage(transaction: &Transaction<'_>, deltas: &[UsageDelta], now: UnixTime) -> Done {
    let ids: Vec<_> = deltas.iter().map(|delta| int(delta.peer.0)).collect();
    // First the lock, then the numbers: in one statement the numbers could be those of before the lock.
    let text = "SELECT id FROM adit.peers WHERE id = ANY ($1) ORDER BY id FOR UPDATE";
    let known = transaction.query(text, &[&ids]).await?;
    let known: Vec<i64> = known.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let text =
        "SELECT peer, received, sent, day, day_bytes, month, month_bytes, seen FROM adit.usage WHERE peer = ANY ($1)";
    let rows = transaction.query(text, &[&known]).await?;
    let mut usage = Usage { peers: rows.iter().map(used).collect::<Done<_>>()? };
    let is_known = |delta: &&UsageDelta| known.binary_search(&int(delta.peer.0)).is_ok();
    usage.add(&deltas.iter().filter(is_known).copied().collect::<Vec<_>>(), now);
    put_usage(transaction, usage.peers.into_iter().collect()).await
}

/// In one statement, however many they are.
async fn put_usage(transaction: &Transaction<'_>, used: Vec<(PeerId, PeerUsage)>) -> Done {
    let column = |value: fn(&PeerUsage) -> u64| used.iter().map(|(_, used)| int(value(used))).collect::<Vec<_>>();
    let peers: Vec<_> = used.iter().map(|(peer, _)| int(peer.0)).collect();
    let seen: Vec<_> = used.iter().map(|(_, used)| used.seen.map(|seen| int(seen.0))).collect();
    let text = "INSERT INTO adit.usage (peer, received, sent, day, day_bytes, month, month_bytes, seen)
        SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[])
        ON CONFLICT (peer) DO UPDATE SET received = excluded.received, sent = excluded.sent, day = excluded.day,
        day_bytes = excluded.day_bytes, month = excluded.month, month_bytes = excluded.month_bytes, seen = excluded.seen";
    let (received, sent) = (column(|used| used.received), column(|used| used.sent));
    let (day, day_bytes) = (column(|used| used.day), column(|used| used.day_bytes));
    let (month, month_bytes) = (column(|used| used.month), column(|used| used.month_bytes));
    transaction.execute(text, &[&peers, &received, &sent, &day, &day_bytes, &month, &month_bytes, &seen]).await?;
    Ok(())
}

/// A row of a log that is restored.
pub(super) async fn log_again(transaction: &Transaction<'_>, row: &AuditRow) -> Done {
    let AuditRow { id, revision, at, who, origin, verb, what, hash } = row;
    let text = "INSERT INTO adit.audit (id, revision, at, who, origin, verb, what, hash)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let hash = hash.as_ref().map(|hash| hash.as_bytes().as_slice());
    transaction.execute(text, &[&int(*id), &int(*revision), &int(at.0), who, origin, verb, what, &hash]).await?;
    Ok(())
}

/// The first entry that must have a hash.
pub(super) async fn hashed_from(transaction: &Transaction<'_>) -> Done<u64> {
    Ok(uint(transaction.query_one("SELECT hashed_from FROM adit.state", &[]).await?.try_get(0)?))
}

/// From this entry on, all of a log that is restored must have one.
pub(super) async fn hash_from(transaction: &Transaction<'_>, id: u64) -> Done {
    transaction.execute("UPDATE adit.state SET hashed_from = $1", &[&int(id)]).await?;
    Ok(())
}

pub(super) async fn audit(transaction: &Transaction<'_>, before: Option<u64>, limit: u32) -> Done<Vec<AuditRow>> {
    let text = "SELECT id, revision, at, who, origin, verb, what, hash FROM adit.audit WHERE id < $1 ORDER BY id DESC LIMIT $2";
    let rows = transaction.query(text, &[&int(before.unwrap_or(u64::MAX)), &i64::from(limit)]).await?;
    let read = |row: &Row| {
        Ok(AuditRow {
            id: uint(row.try_get(0)?),
            revision: uint(row.try_get(1)?),
            at: UnixTime(uint(row.try_get(2)?)),
            who: row.try_get(3)?,
            origin: row.try_get(4)?,
            verb: row.try_get(5)?,
            what: row.try_get(6)?,
            // One of another length is none, and found to be missing.
            hash: row.try_get::<_, Option<Vec<u8>>>(7)?.and_then(|hash| AuditHash::from_bytes(&hash)),
        })
    };
    rows.iter().map(read).collect()
}

fn json<T: Serialize>(value: &T) -> Done<String> {
    serde_json::to_string(value).map_err(|error| Trouble::Row(error.to_string()))
}

fn parse<T: DeserializeOwned>(text: &str) -> Done<T> {
    serde_json::from_str(text).map_err(|error| Trouble::Row(error.to_string()))
}

/// PostgreSQL's integers have a sign. What is larger than they can be stays at their largest.
fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn uint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
