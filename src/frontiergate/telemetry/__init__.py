"""What the gate tells the outside: metrics, decision records, logs. No secrets, no raw personal data (P6)."""
