/** Times of the lab's guests that do not depend on the profile; a lower bound has to know them too. Milliseconds. */

/** Between two polls of a learner until etcd lets it be promoted; RKE2's own ticker polls every 15 s. */
export const learnerEvery = 50;
