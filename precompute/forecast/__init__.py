"""What a run would take: time, disk, memory and memory of the GPU, stage by stage; and what keeps it within a limit."""
