//! shim
use crate::error::Result;
pub struct Query;
pub fn criteria(_t: &str, _p: &[(String, String)], _l: &crate::config::Limits, _b: &str) -> Result<Query> { Ok(Query) }
pub fn find_up_to(_r: &crate::store::Records, _q: &Query, _n: usize, _l: &crate::config::Limits) -> Result<(Vec<crate::store::Rid>, Vec<crate::store::Guard>)> { Ok((vec![], vec![])) }
