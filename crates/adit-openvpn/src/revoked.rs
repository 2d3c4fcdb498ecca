//! Which certificates are withdrawn (`crl-verify`): by lists that an authority signed, or by their serial numbers.
//!
//! Not here: reading files; whose lists count, and what becomes of who shows such a certificate (`verify`).

use std::collections::BTreeSet;
use std::fmt;

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use webpki::{BorrowedCertRevocationList, CertRevocationList};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::RulesError;

/// Certificates that are withdrawn.
#[derive(Default)]
pub struct Revoked {
    pub(crate) lists: Vec<CertRevocationList<'static>>,
    serials: BTreeSet<String>,
}

impl Revoked {
    /// Those on lists.
    ///
    /// # Errors
    /// [`RulesError::Revoked`]: the first list that cannot be read.
    pub fn of_lists(lists: &[CertificateRevocationListDer<'_>]) -> Result<Self, RulesError> {
        let read = |(number, der): (usize, &CertificateRevocationListDer<'_>)| {
            BorrowedCertRevocationList::from_der(der)
                .and_then(|list| list.to_owned())
                .map(CertRevocationList::Owned)
                .map_err(|error| RulesError::Revoked { number, why: error.to_string() })
        };
        let lists = (1..).zip(lists).map(read).collect::<Result<_, _>>()?;
        Ok(Self { lists, ..Self::default() })
    }

    /// Those with these serial numbers, in decimal, whoever signed them.
    pub fn of_serials(serials: BTreeSet<String>) -> Self {
        Self { lists: Vec::new(), serials }
    }

    /// Whether a certificate is withdrawn by its serial number alone.
    pub(crate) fn has_serial(&self, certificate: &X509Certificate<'_>) -> bool {
        !self.serials.is_empty() && self.serials.contains(&certificate.serial.to_string())
    }

    /// Whether one of these may be withdrawn: some list has its number, whoever that list is of.
    pub(crate) fn may_name(&self, chain: &[CertificateDer<'_>]) -> bool {
        chain.iter().filter_map(|der| X509Certificate::from_der(der).ok()).any(|(_, certificate)| {
            let raw = certificate.raw_serial();
            // Lists differ in whether a zero stands in front.
            let bare = raw.iter().position(|byte| *byte != 0).and_then(|at| raw.get(at..)).unwrap_or(raw);
            let is_on = |list: &CertRevocationList<'_>| {
                [raw, bare].iter().any(|serial| list.find_serial(serial).is_ok_and(|found| found.is_some()))
            };
            self.has_serial(&certificate) || self.lists.iter().any(is_on)
        })
    }
}

impl fmt::Debug for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revoked({} lists, {} numbers)", self.lists.len(), self.serials.len())
    }
}
