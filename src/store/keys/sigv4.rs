//! Signatures of requests to AWS, version 4.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use super::hex;
use crate::clock::Micros;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign as hmac};
use zeroize::Zeroizing;

/// Who signs.
pub struct Credentials {
    /// The id of the key.
    pub access_key: String,
    /// The key.
    pub secret_key: Zeroizing<String>,
    /// What goes with a key that lasts for some time only.
    pub session_token: Option<Zeroizing<String>>,
}

/// For what.
pub struct Scope<'s> {
    /// The region.
    pub region: &'s str,
    /// The service.
    pub service: &'s str,
}

/// A request, as far as it is signed.
pub struct Unsigned<'u> {
    /// The method.
    pub method: &'u str,
    /// The path, percent-encoded.
    pub path: &'u str,
    /// The query, percent-encoded, by names in their order.
    pub query: &'u str,
    /// Names in lower case, in their order; `host` and `x-amz-date` among them.
    pub headers: &'u [(&'u str, &'u str)],
    /// The body.
    pub body: &'u [u8],
}

/// `YYYYMMDDTHHMMSSZ`: what `x-amz-date` says.
#[must_use]
pub fn amz_date(time: Micros) -> String {
    time.to_instant().chars().filter(|letter| !matches!(letter, '-' | ':')).take(15).chain(['Z']).collect()
}

/// The header `Authorization`.
#[must_use]
pub fn authorization(by: &Credentials, scope: &Scope<'_>, date: &str, request: &Unsigned<'_>) -> String {
    let Unsigned { method, path, query, headers, body } = request;
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines = headers.iter().map(|(name, value)| format!("{name}:{}", value.trim())).collect::<Vec<_>>().join("\n");
    let canonical = format!("{method}\n{path}\n{query}\n{lines}\n\n{names}\n{}", sha256(body));
    let day = date.get(..8).unwrap_or(date);
    let place = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{place}\n{}", sha256(canonical.as_bytes()));
    let signature = [scope.region, scope.service, "aws4_request"]
        .into_iter()
        .fold(mac(format!("AWS4{}", &*by.secret_key).as_bytes(), day), |key, part| mac(&key, part));
    let signature = hex(&mac(&signature, &to_sign));
    let key = &by.access_key;
    format!("AWS4-HMAC-SHA256 Credential={key}/{place}, SignedHeaders={names}, Signature={signature}")
}

fn mac(key: &[u8], text: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(hmac(&Key::new(HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec())
}

/// The digest of a body, in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `get-vanilla` and `post-vanilla` of the suite that AWS published for this signature.
    #[test]
    fn the_published_examples_come_out() {
        let by = Credentials {
            access_key: "AKIDEXAMPLE".into(),
            secret_key: Zeroizing::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into()),
            session_token: None,
        };
        let scope = Scope { region: "us-east-1", service: "service" };
        let headers = [("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z")];
        for (method, signature) in [
            ("GET", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("POST", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ] {
            let request = Unsigned { method, path: "/", query: "", headers: &headers, body: b"" };
            let signed = authorization(&by, &scope, "20150830T123600Z", &request);
            let start = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                         SignedHeaders=host;x-amz-date, Signature=";
            assert_eq!(signed, format!("{start}{signature}"));
        }
    }

    #[test]
    fn dates_are_written_without_punctuation() {
        assert_eq!(amz_date(Micros(1_440_938_160_000_000)), "20150830T123600Z");
    }
}
