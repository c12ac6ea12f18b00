//! `AuditEvent/$verify`: an operation of this server's own. It verifies the audit ledger of the tenant: see `audit/chain.rs`, and
//! <https://hl7.org/fhir/R4/auditevent.html> for what the ledger is served as.

use crate::audit::chain::Fault;
use crate::auth::access::Allowed;
use crate::auth::scope::Letters;
use crate::error::Result;
use crate::fhir::tree::Value;
use crate::fhir::write;
use crate::interaction::reach::insufficient_scope;
use crate::interaction::{Answer, Context, LEDGER};
use crate::store::ledger::id_of;
use crate::tree;

/// Walks the chain from its first block to its head, and compares it with the checkpoints that are kept. The answer is a Parameters:
/// `sound`, `entries`, `blocks`, `hash` (of the last block), `checkpoints`, `first` and `last` (times), and for each fault the id of the
/// first AuditEvent that is concerned, and what is wrong.
///
/// # Errors
/// 403 for those who may not search all AuditEvents; when the store can't be read.
pub async fn verify(context: &Context) -> Result<Answer> {
    if context.grant.allowed_by_scopes(LEDGER, Letters::SEARCH) != Allowed::Everything {
        return Err(insufficient_scope());
    }
    let found = context.ledger.verify(context.grant.tenant(), None).await?;
    let chain = &found.chain;
    let mut parameters = vec![
        tree!({ "name": "sound", "valueBoolean": (chain.is_sound()) }),
        tree!({ "name": "entries", "valueDecimal": (chain.head.next) }),
        tree!({ "name": "blocks", "valueDecimal": (chain.blocks) }),
        tree!({ "name": "hash", "valueString": (crate::audit::checkpoint::hex(&chain.head.hash)) }),
        tree!({ "name": "checkpoints", "valueDecimal": (found.checkpoints as u64) }),
    ];
    if let Some((first, last)) = chain.span {
        parameters.push(tree!({ "name": "first", "valueInstant": (first.to_instant()) }));
        parameters.push(tree!({ "name": "last", "valueInstant": (last.to_instant()) }));
    }
    parameters.extend(chain.faults.iter().map(fault));
    let answer = tree!({ "resourceType": "Parameters", "parameter": (Value::Array(parameters)) });
    Ok(Answer::ok(write::to_vec(&answer)))
}

fn fault(fault: &Fault) -> Value<'static> {
    tree!({ "name": "fault", "part": [
        { "name": "entry", "valueId": (id_of(fault.entry)) },
        { "name": "what", "valueString": (fault.what.clone()) },
    ] })
}
