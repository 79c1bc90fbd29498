//! xenstored: the tree, its watches, transactions, permissions and quotas.
