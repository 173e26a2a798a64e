"""`python -m fastpose.env`: print what fastpose runs on."""

import json

from fastpose.environment import describe

if __name__ == "__main__":
    print(json.dumps(describe(), indent=2))
