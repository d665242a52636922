"""Actions by what decides about them.

Not for deciding (`objects.access`).
"""

from __future__ import annotations

from gateway.model.action import Action

# What depends on the object that is there.
OBJECT_ACTIONS = frozenset(
    {
        Action.DELETE_OBJECT_ANNOTATION,
        Action.DELETE_OBJECT_TAGGING,
        Action.DELETE_OBJECT_VERSION_ANNOTATION,
        Action.DELETE_OBJECT_VERSION_TAGGING,
        Action.GET_OBJECT,
        Action.GET_OBJECT_ACL,
        Action.GET_OBJECT_ANNOTATION,
        Action.GET_OBJECT_ATTRIBUTES,
        Action.GET_OBJECT_LEGAL_HOLD,
        Action.GET_OBJECT_RETENTION,
        Action.GET_OBJECT_TAGGING,
        Action.GET_OBJECT_VERSION,
        Action.GET_OBJECT_VERSION_ACL,
        Action.GET_OBJECT_VERSION_ANNOTATION,
        Action.GET_OBJECT_VERSION_ATTRIBUTES,
        Action.GET_OBJECT_VERSION_TAGGING,
        Action.LIST_OBJECT_ANNOTATIONS,
        Action.LIST_OBJECT_VERSION_ANNOTATIONS,
        Action.PUT_OBJECT_ACL,
        Action.PUT_OBJECT_ANNOTATION,
        Action.PUT_OBJECT_LEGAL_HOLD,
        Action.PUT_OBJECT_RETENTION,
        Action.PUT_OBJECT_TAGGING,
        Action.PUT_OBJECT_VERSION_ACL,
        Action.PUT_OBJECT_VERSION_ANNOTATION,
        Action.PUT_OBJECT_VERSION_TAGGING,
        Action.RESTORE_OBJECT,
        Action.UPDATE_OBJECT_ENCRYPTION,
    }
)
# What belongs to the owner of the object, be it another than the bucket's.
OF_OBJECT_OWNER = frozenset(
    {
        Action.GET_OBJECT,
        Action.GET_OBJECT_ACL,
        Action.GET_OBJECT_ATTRIBUTES,
        Action.GET_OBJECT_VERSION,
        Action.GET_OBJECT_VERSION_ACL,
        Action.GET_OBJECT_VERSION_ATTRIBUTES,
        Action.PUT_OBJECT_ACL,
        Action.PUT_OBJECT_VERSION_ACL,
        Action.UPDATE_OBJECT_ENCRYPTION,
    }
)
# What no writer of another account may do to its own object: the bucket's owner says what is kept.
OF_BUCKET_OWNER = frozenset({Action.PUT_OBJECT_LEGAL_HOLD, Action.PUT_OBJECT_RETENTION})
POLICY_ACTIONS = frozenset(
    {Action.GET_BUCKET_POLICY, Action.PUT_BUCKET_POLICY, Action.DELETE_BUCKET_POLICY}
)
# What a copy does to its source.
OF_SOURCE = frozenset(
    {
        Action.GET_OBJECT,
        Action.GET_OBJECT_ANNOTATION,
        Action.GET_OBJECT_TAGGING,
        Action.GET_OBJECT_VERSION,
        Action.GET_OBJECT_VERSION_ANNOTATION,
        Action.GET_OBJECT_VERSION_TAGGING,
    }
)
