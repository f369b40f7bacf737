"""What an audit's tables say in plain words: each finding with its evidence and an interval; docs/audit_findings.md."""
