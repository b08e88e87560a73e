"""The disk: each rule by itself, then crashes, power loss, full disks and other processes."""
