//! Whose turn it is: one tenant after the other, and within a tenant one job after the other.

use crate::tenant::TenantId;
use std::collections::VecDeque;

/// The jobs that wait for a turn, each once.
#[derive(Debug, Default)]
pub(super) struct Fair {
    tenants: VecDeque<(TenantId, VecDeque<String>)>,
}

impl Fair {
    /// Puts a job behind the others of its tenant, unless it waits already.
    pub(super) fn push(&mut self, tenant: TenantId, id: String) {
        match self.tenants.iter_mut().find(|(own, _)| *own == tenant) {
            Some((_, jobs)) if jobs.contains(&id) => {}
            Some((_, jobs)) => jobs.push_back(id),
            None => self.tenants.push_back((tenant, VecDeque::from([id]))),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }

    /// Takes the job whose turn it is.
    pub(super) fn pop(&mut self) -> Option<(TenantId, String)> {
        let (tenant, mut jobs) = self.tenants.pop_front()?;
        let id = jobs.pop_front()?;
        if !jobs.is_empty() {
            self.tenants.push_back((tenant, jobs));
        }
        Some((tenant, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_with_many_jobs_does_not_hold_up_another() {
        let mut fair = Fair::default();
        for id in ["a1", "a2", "a3", "a2"] {
            fair.push(TenantId(1), id.into());
        }
        fair.push(TenantId(2), "b1".into());
        let mut turns = Vec::new();
        for _ in 0..8 {
            let (tenant, id) = fair.pop().unwrap();
            fair.push(tenant, id.clone());
            turns.push(id);
        }
        assert_eq!(turns, ["a1", "b1", "a2", "b1", "a3", "b1", "a1", "b1"]);
    }
}
