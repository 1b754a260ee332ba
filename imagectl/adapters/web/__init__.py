"""HTTP, read-only: what is asked, what is answered, files of a tree, and the server of it all."""
