"""Times artifacts and what a user could have picked instead, side by side, in one run."""
