//! A fixed short story that passes through every kind of step, to crash at each of them.

use super::{
    World,
    agents::{arguments, owner},
};
use portreeve_core::{
    event::{Actor, To},
    names::GrantId,
    node::Node,
    request::{Grant, Request},
};

impl World {
    pub(super) fn script(&mut self) {
        let ana = Some("ana");
        self.open(("support", "bot", ana), ("ord_1", 50), None);
        self.rest();
        self.calls(0, &[("shop.get_order", 0), ("files.read", 0)]);
        self.rest();
        let parent = self.env.wanted.first().cloned();
        self.open(("refund-order", "bot", ana), ("ord_1", 80), parent);
        self.rest();
        self.calls(1, &[("shop.get_order", 0)]);
        self.rest();
        // Two at once, of which the parent's bound and the child's count let one through.
        self.calls(1, &[("shop.refund", 70), ("shop.refund", 20), ("shop.refund", 30)]);
        self.rest();
        self.calls(1, &[("files.read", 0)]);
        self.rest();
        self.calls(0, &[("shop.refund", 40), ("shop.cancel_refund", 0), ("shop.export_customers", 0)]);
        self.rest();
        // For a moment everything outside of the envelope is let through, but for what is privileged.
        self.observe("all", 1_000);
        self.rest();
        self.calls(0, &[("shop.refund", 90), ("shop.cancel_refund", 0), ("shop.export_customers", 0)]);
        self.calls(1, &[("shop.refund", 70)]);
        self.rest();
        self.env.pass(1_000);
        self.calls(0, &[("shop.refund", 90)]);
        self.rest();
        self.change_to(1);
        self.calls(0, &[("shop.get_order", 0), ("files.read", 0)]);
        self.rest();
        // The parent is stopped while the child has a call under way.
        self.calls(1, &[("shop.get_order", 0)]);
        if let Some(known) = self.env.wanted.first().cloned() {
            self.stop(Node::Task(known.task), owner());
        }
        self.rest();
        self.calls(1, &[("shop.get_order", 0)]);
        self.rest();
        self.change_to(0);
        self.open(("look-only", "helper", ana), ("ord_2", 10), None);
        self.rest();
        self.calls(2, &[("shop.get_order", 0), ("files.read", 0)]);
        self.rest();
        self.people();
    }

    /// Two people agree to one refund, which is asked for again and again; one of them opens a class
    fn people(&mut self) {
        self.open(("careful", "bot", Some("ana")), ("ord_1", 50), None);
        self.rest();
        self.calls(3, &[("shop.refund", 5), ("shop.refund", 5), ("shop.cancel_refund", 0)]);
        self.rest();
        self.everybody_agrees(&["ana", "dan", "bob"]);
        self.rest();
        self.calls(3, &[("shop.refund", 5)]);
        self.rest();
        self.everybody_agrees(&["cid"]);
        self.rest();
        self.calls(3, &[("shop.refund", 5), ("shop.refund", 5), ("shop.refund", 6), ("shop.cancel_refund", 0)]);
        self.rest();
        self.calls(3, &[("shop.refund", 5), ("shop.export_customers", 0)]);
        let Some(known) = self.env.wanted.get(3).cloned() else { return };
        for tool in ["shop.sweep", "shop.export_customers"] {
            self.elevate((Actor::Run(known.run), known.task), tool, None, (1, 5_000));
        }
        self.rest();
        self.everybody_agrees(&["bob"]);
        self.rest();
        self.calls(3, &[("shop.sweep", 3), ("shop.sweep", 4), ("shop.export_customers", 0)]);
        self.rest();
        self.everybody_agrees(&["cid"]);
        self.rest();
        self.calls(3, &[("shop.export_customers", 0)]);
        self.rest();
    }

    /// Lets calls outside of the envelope through for a while
    fn observe(&mut self, on: &str, ms: i64) {
        let (Some(gateway), Ok(on)) = (&mut self.gateway, on.parse()) else { return };
        let grant = GrantId(self.env.id());
        let until = self.env.clock().steady.plus(ms);
        let (owned, why) = ("account:root".to_owned(), "to see what it needs".to_owned());
        gateway.note(Request::Grant(Grant { grant, by: owner(), owner: owned, to: To::Observe { on }, why, until }));
    }

    /// Calls of one of the tasks that were opened, whether or not the crash ate it
    fn calls(&mut self, index: usize, calls: &[(&str, u64)]) {
        let Some(known) = self.env.wanted.get(index).cloned() else { return };
        for (tool, amount) in calls {
            let order = known.order.clone();
            self.call(&known, tool, arguments(tool, &order, *amount));
        }
    }
}
