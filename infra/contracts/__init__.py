"""What was released stays as it is, or grows: the rules by which `schemas/` may change, checked."""
