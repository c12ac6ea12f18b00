//! shim
use super::*;
pub struct Patched<'a> { pub type_name: String, pub id: String, pub version: u64, pub resource: Object<'a> }
pub async fn patch(_c: &Context, _r: Request<'_>) -> Result<Answer> { Err(Error::not_found()) }
pub fn decide<'a>(_c: &Context, _r: &Records, _q: &Request<'a>) -> Result<(Patched<'a>, Vec<crate::store::Guard>)> { Err(Error::not_found()) }
