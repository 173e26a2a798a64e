"""The report's tables and fastpose's own, measured on anyone's data by one command, with one report of them."""
