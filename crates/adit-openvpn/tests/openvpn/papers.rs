//! An authority, and certificates as easy-rsa makes them: a common name, usages, no host name.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

/// An authority and what it signed.
pub(crate) struct Papers {
    authority: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key.
pub(crate) struct Paper {
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
    serial: SerialNumber,
}

/// A date as the library has it, whose type it does not give a name.
macro_rules! ymd {
    ($date:expr) => {{
        let (year, month, day): Date = $date;
        rcgen::date_time_ymd(year, month, day)
    }};
}

/// A moment as certificates have it.
pub(crate) type Date = (i32, u8, u8);

/// The first day of a year.
pub(crate) const fn days(year: i32) -> Date {
    (year, 1, 1)
}

static SERIAL: AtomicU64 = AtomicU64::new(1);

impl Papers {
    pub(crate) fn new() -> Self {
        Self::dated_authority(days(2000), days(2100))
    }

    pub(crate) fn dated_authority(from: Date, until: Date) -> Self {
        let mut params = named("Test CA", from, until);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self { authority: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// The authority's certificate before it was renewed: the same name and key, other dates.
    pub(crate) fn authority_before(&self, from: Date, until: Date) -> CertificateDer<'static> {
        let mut params = named("Test CA", from, until);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.self_signed(self.authority.key()).unwrap().der().clone()
    }

    /// A certificate that nobody but itself signed, and that says it is an authority.
    pub(crate) fn lone() -> Paper {
        let mut params = named("server", days(2000), days(2100));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let serial = params.serial_number.clone().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Paper { certificate: certificate.der().clone(), key: key.serialize_der(), serial }
    }

    pub(crate) fn authority(&self) -> CertificateDer<'static> {
        self.authority.der().clone()
    }

    pub(crate) fn server(&self) -> Paper {
        self.issue(usages("server", ExtendedKeyUsagePurpose::ServerAuth))
    }

    pub(crate) fn client(&self) -> Paper {
        self.issue(usages("client", ExtendedKeyUsagePurpose::ClientAuth))
    }

    /// A server's that says nothing of its use.
    pub(crate) fn silent(&self) -> Paper {
        self.issue(named("server", days(2000), days(2100)))
    }

    /// A server's that is valid between these.
    pub(crate) fn dated(&self, from: Date, until: Date) -> Paper {
        self.issue(named("server", from, until))
    }

    fn issue(&self, params: CertificateParams) -> Paper {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        let serial = params.serial_number.unwrap();
        Paper { certificate: certificate.der().clone(), key: key.serialize_der(), serial }
    }

    /// A list on which this one is.
    pub(crate) fn revoked(&self, paper: &Paper, until: Date) -> CertificateRevocationListDer<'static> {
        let list = CertificateRevocationListParams {
            this_update: ymd!(days(2025)),
            next_update: ymd!(until),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: paper.serial.clone(),
                revocation_time: ymd!(days(2025)),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.authority).unwrap().der().clone()
    }
}

impl Paper {
    /// The serial number, in decimal.
    pub(crate) fn serial(&self) -> String {
        let mut digits = vec![0_u8];
        for byte in self.serial.as_ref() {
            let mut carry = u32::from(*byte);
            for digit in &mut digits {
                carry += u32::from(*digit) << 8;
                *digit = (carry % 10) as u8;
                carry /= 10;
            }
            while carry > 0 {
                digits.push((carry % 10) as u8);
                carry /= 10;
            }
        }
        digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect()
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone()]
    }

    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        digest(&SHA256, &self.certificate).as_ref().try_into().unwrap()
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.clone()).unwrap()
    }
}

fn usages(name: &str, purpose: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = named(name, days(2000), days(2100));
    params.extended_key_usages = vec![purpose];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

fn named(name: &str, from: Date, until: Date) -> CertificateParams {
    let mut params = CertificateParams::new([]).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    (params.not_before, params.not_after) = (ymd!(from), ymd!(until));
    params.serial_number = Some(SerialNumber::from(SERIAL.fetch_add(1, Ordering::Relaxed)));
    params
}
