#!/bin/bash
# SPDX-FileCopyrightText: the blockmig authors
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The kill matrix (matrix.sh) of the pull.
STRATEGY=pull exec "$(dirname "$0")/matrix.sh"
