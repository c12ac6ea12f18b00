//! shim
use super::*;
pub async fn search(_c: &Context, _r: Request<'_>) -> Result<Answer> { Err(Error::not_found()) }
