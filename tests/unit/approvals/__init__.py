"""Who is asked, for how long, and what a grant answers in advance."""
